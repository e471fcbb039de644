package prefiltertest

import (
	"fmt"

	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// Start is the first second of Minute.
const Start = uint32(Minute * 60)

// Plain returns a knock that most rows accept, after a change; its HMAC is zero.
func Plain(change func(*wire.Knock)) []byte {
	com1 := wire.Identifier([]byte("com1"))
	k := wire.Knock{Sequence: 1, Maximum: 2, Identifier: com1, Timestamp: Start + 30, Nonce: 8}
	if change != nil {
		change(&k)
	}
	return verifytest.Forge(k)
}

// Packet is a datagram with a name.
type Packet struct {
	Name     string
	Datagram []byte
}

// Packets returns datagrams of all kinds. No row accepts all of them.
func Packets() (all []Packet) {
	add := func(name string, datagram []byte) { all = append(all, Packet{name, datagram}) }
	knock := func(name string, change func(*wire.Knock)) { add(name, Plain(change)) }
	add("plain", Plain(nil))
	knock("one that closes", func(k *wire.Knock) { *k = k.SignClosing(verifytest.Secret(k.Identifier)) })
	add("empty", nil)
	add("one byte", []byte{'P'})
	add("a byte short", Plain(nil)[:47])
	add("a byte long", append(Plain(nil), 0))
	add("twice", append(Plain(nil), Plain(nil)...))
	add("zeros", make([]byte, 48))
	add("large", make([]byte, 1400))
	knock("largest nonce", func(k *wire.Knock) { k.Nonce = 1<<32 - 1 })
	knock("no nonce", func(k *wire.Knock) { k.Nonce = 0 })
	knock("first of all", func(k *wire.Knock) { k.Timestamp = 0 })
	knock("early on", func(k *wire.Knock) { k.Timestamp = 61 })
	knock("a bit later on", func(k *wire.Knock) { k.Timestamp = 62 })
	knock("last of all", func(k *wire.Knock) { k.Timestamp = 1<<32 - 1 })
	for _, magic := range []string{"pk", "KP", "P\x00", "\x00K", "PKK"} {
		b := Plain(nil)
		copy(b, magic)
		add("magic "+magic, b)
	}
	for _, n := range []int8{0, 1, 2, 3, 127, -1, -128} {
		knock(fmt.Sprint("sequence ", n), func(k *wire.Knock) { k.Sequence = n })
		knock(fmt.Sprint("maximum ", n), func(k *wire.Knock) { k.Maximum = n })
		knock(fmt.Sprint("both ", n), func(k *wire.Knock) { k.Sequence, k.Maximum = n, n })
	}
	for _, at := range []int64{-63, -62, -61, -60, -3, -2, -1, 0, 59, 60, 61, 62, 119, 120, 121, 122} {
		for _, sequence := range []int8{0, 1, 2} {
			knock(fmt.Sprintf("at %d, sequence %d", at, sequence), func(k *wire.Knock) {
				k.Timestamp, k.Sequence = uint32(int64(Start)+at), sequence
			})
		}
	}
	for _, name := range []string{
		"com0", "com2", "com3", "0002", "0007", "0008", "0999", "2499", "2500", "    ", "~~~~",
		"com\x00", "\x7fcom", "co\x1fm", "\xff\xff\xff\xff", "\x00\x00\x00\x00",
	} {
		knock(fmt.Sprintf("client %q", name), func(k *wire.Knock) { k.Identifier = wire.Identifier([]byte(name)) })
	}
	return all
}
