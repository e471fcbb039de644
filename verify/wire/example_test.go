package wire_test

import (
	"crypto/hmac"
	"encoding/hex"
	"fmt"

	"sallyport/verify/wire"
)

// A server parses a datagram, and then checks its MAC under the secret of the
// client that it names.
func ExampleParse() {
	datagram, err := hex.DecodeString("504b0002636f6d316553f10000000001" +
		"7cb0ca3ff0f256bc45ecd0ce4f827a7961601701b98de2e33f8287b156fb2460")
	if err != nil {
		panic(err)
	}
	k, err := wire.Parse(datagram)
	if err != nil {
		panic(err)
	}
	fmt.Printf("knock %d of 0 to %d from %s, stamped %d, nonce %d\n",
		k.Sequence, k.Maximum, k.Identifier, k.Timestamp, k.Nonce)
	signed := k.Sign([]byte("com1_secret"))
	fmt.Println("authentic:", hmac.Equal(k.MAC[:], signed.MAC[:]))
	// Output:
	// knock 0 of 0 to 2 from com1, stamped 1700000000, nonce 1
	// authentic: true
}

// Parse names the first rule that a datagram breaks.
func ExampleParse_rule() {
	_, err := wire.Parse(make([]byte, wire.Size))
	fmt.Println(err)
	_, err = wire.Parse(make([]byte, wire.Size-1))
	fmt.Println(err)
	// Output:
	// not a knock: breaks rule magic
	// not a knock: breaks rule size
}

// A client fills in a knock, signs it, and sends the bytes as one datagram.
func ExampleKnock_Sign() {
	k := wire.Knock{
		Sequence: 2, Maximum: 2, Identifier: wire.Identifier([]byte("com1")),
		Timestamp: 1_700_000_000, Nonce: 3,
	}
	datagram, err := k.Sign([]byte("com1_secret")).AppendBinary(nil)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%x\n", datagram[:wire.OffsetMAC])
	fmt.Printf("%x\n", datagram[wire.OffsetMAC:])
	// Output:
	// 504b0202636f6d316553f10000000003
	// 4b7326d39b21ddda3b268d35d0c1296014b63228b90a226d659c98a5f964dc75
}
