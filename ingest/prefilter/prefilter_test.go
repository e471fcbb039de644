package prefilter

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const (
	minute = schedule.Minute(29_000_000)
	start  = uint32(minute * 60)
)

func id(text string) wire.Identifier { return wire.Identifier([]byte(text)) }

// knock is one that the rules below take, changed.
func knock(change func(*wire.Knock)) []byte {
	k := wire.Knock{Sequence: 1, Maximum: 2, Identifier: id("com1"), Timestamp: start + 30, Nonce: 8}
	if change != nil {
		change(&k)
	}
	b := make([]byte, wire.Size)
	copy(b, wire.Magic)
	b[wire.OffsetSequence], b[wire.OffsetMaximum] = byte(k.Sequence), byte(k.Maximum)
	copy(b[wire.OffsetIdentifier:], k.Identifier[:])
	binary.BigEndian.PutUint32(b[wire.OffsetTimestamp:], k.Timestamp)
	binary.BigEndian.PutUint32(b[wire.OffsetNonce:], k.Nonce)
	return b
}

// many returns n identifiers, com1 and com2 among them; nil for too many.
func many(n int) *Identifiers {
	if n > MaxIdentifiers {
		return nil
	}
	ids := []wire.Identifier{id("com1"), id("com2")}
	for i := len(ids); i < n; i++ {
		ids = append(ids, id(fmt.Sprintf("%04d", i)))
	}
	return NewIdentifiers(ids[:n])
}

// rules are sets of them, and whether a plain knock is taken.
var rules = []struct {
	name  string
	rules Rules
	plain bool
}{
	{"one minute, few clients", Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, many(3)}, true},
	{"no client", Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, many(0)}, false},
	{"a full leaf", Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, many(8)}, true},
	{"two leaves", Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, many(9)}, true},
	{"far jumps", Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, many(1000)}, true},
	{"as many clients as fit", Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, many(MaxIdentifiers)}, true},
	{"any client", Rules{2, []schedule.Place{{Minute: minute, Index: 1}}, nil}, true},
	{"two minutes", Rules{2, []schedule.Place{{Minute: minute - 1, Index: 0}, {Minute: minute, Index: 1}}, many(2)}, true},
	{"two minutes, one index", Rules{2, []schedule.Place{{Minute: minute, Index: 1}, {Minute: minute + 1, Index: 1}}, many(2)}, true},
	{"six places", Rules{2, []schedule.Place{
		{Minute: minute - 1, Index: 0}, {Minute: minute - 1, Index: 2}, {Minute: minute, Index: 2},
		{Minute: minute, Index: 0}, {Minute: minute + 1, Index: 1}, {Minute: minute, Index: 1},
	}, nil}, true},
	{"no place", Rules{2, nil, many(2)}, false},
	{"another maximum", Rules{127, []schedule.Place{{Minute: minute, Index: 1}}, many(2)}, false},
	{"the first minute of all", Rules{2, []schedule.Place{{Minute: 0, Index: 1}}, nil}, false},
	{"the last minute of all", Rules{2, []schedule.Place{{Minute: (1<<32 - 1) / 60, Index: 1}}, nil}, false},
	{"before all time", Rules{2, []schedule.Place{{Minute: -9, Index: 1}}, nil}, false},
}

// packets are datagrams of all kinds, of which each set of rules takes some.
func packets() map[string][]byte {
	p := map[string][]byte{
		"plain":          knock(nil),
		"empty":          {},
		"one byte":       {'P'},
		"a byte short":   knock(nil)[:47],
		"a byte long":    append(knock(nil), 0),
		"twice":          append(knock(nil), knock(nil)...),
		"zeros":          make([]byte, 48),
		"large":          make([]byte, 1400),
		"largest nonce":  knock(func(k *wire.Knock) { k.Nonce = 1<<32 - 1 }),
		"no nonce":       knock(func(k *wire.Knock) { k.Nonce = 0 }),
		"first of all":   knock(func(k *wire.Knock) { k.Timestamp = 0 }),
		"early on":       knock(func(k *wire.Knock) { k.Timestamp = 61 }),
		"a bit later on": knock(func(k *wire.Knock) { k.Timestamp = 62 }),
		"last of all":    knock(func(k *wire.Knock) { k.Timestamp = 1<<32 - 1 }),
	}
	for _, magic := range []string{"pk", "KP", "P\x00", "\x00K", "PKK"} {
		b := knock(nil)
		copy(b, magic)
		p["magic "+magic] = b
	}
	for _, n := range []int8{0, 2, 3, 127, -1, -128} {
		p[fmt.Sprint("sequence ", n)] = knock(func(k *wire.Knock) { k.Sequence = n })
		p[fmt.Sprint("maximum ", n)] = knock(func(k *wire.Knock) { k.Maximum = n })
	}
	for _, at := range []int64{-63, -62, -61, -60, -3, -2, -1, 0, 59, 60, 61, 62, 119, 120, 121, 122} {
		for _, sequence := range []int8{0, 1, 2} {
			p[fmt.Sprintf("at %d, sequence %d", at, sequence)] = knock(func(k *wire.Knock) { k.Timestamp, k.Sequence = uint32(int64(start)+at), sequence })
		}
	}
	for _, name := range []string{"com0", "com2", "com3", "0002", "0007", "0008", "0999", "2499", "2500", "    ", "~~~~", "com\x00", "\x7fcom", "co\x1fm", "\xff\xff\xff\xff", "\x00\x00\x00\x00"} {
		p["client "+name] = knock(func(k *wire.Knock) { k.Identifier = id(name) })
	}
	return p
}

// withHeader is what the kernel runs a filter on.
func withHeader(datagram []byte) []byte {
	b := make([]byte, udpHeader, udpHeader+len(datagram))
	binary.BigEndian.PutUint16(b[udpLength:], uint16(udpHeader+len(datagram)))
	return append(b, datagram...)
}

func machine(t rapid.TB, program []bpf.Instruction) *bpf.VM {
	t.Helper()
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func run(t rapid.TB, vm *bpf.VM, packet []byte) int {
	t.Helper()
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGoAndMachineAgree(t *testing.T) {
	for _, r := range rules {
		vm, taken := machine(t, r.rules.Program()), 0
		for name, datagram := range packets() {
			want := r.rules.Accepts(datagram)
			if got := run(t, vm, withHeader(datagram)) > 0; got != want {
				t.Errorf("%s: %s: the program takes it: %v, Go: %v", r.name, name, got, want)
			}
			if name == "plain" && want != r.plain {
				t.Errorf("%s: a plain knock is taken: %v", r.name, want)
			}
			if want {
				taken++
			}
		}
		if taken == len(packets()) {
			t.Errorf("%s: takes everything", r.name)
		}
	}
}

// TestLengthIsTheHeaders: what lies behind a datagram in the buffer is not its.
func TestLengthIsTheHeaders(t *testing.T) {
	vm := machine(t, rules[0].rules.Program())
	packet := withHeader(knock(nil))
	if run(t, vm, append(packet, packet...)) == 0 {
		t.Error("refused for what lies behind it")
	}
	packet[udpLength+1]++
	if run(t, vm, append(packet, 0)) != 0 {
		t.Error("taken, though its header says that it is longer")
	}
}

func TestProgramsFitTheKernel(t *testing.T) {
	places := make([]schedule.Place, 6)
	for n := range MaxIdentifiers + 1 {
		if n > 300 && n%97 != 0 && n < MaxIdentifiers-1 {
			continue
		}
		raw, err := bpf.Assemble(Rules{2, places, many(max(n, 2))}.Program())
		if err != nil {
			t.Fatalf("%d clients: %v", n, err)
		}
		if len(raw) > 4096 {
			t.Errorf("%d clients: %d instructions", n, len(raw))
		}
	}
	if NewIdentifiers(make([]wire.Identifier, MaxIdentifiers+1)) != nil {
		t.Error("too many taken")
	}
}

// TestTreeKnowsItsOwn draws clients and looks for them and for others.
func TestTreeKnowsItsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfNDistinct(rapid.Uint32(), 0, 600, rapid.ID).Draw(t, "clients")
		ids := make([]wire.Identifier, len(drawn))
		known := map[wire.Identifier]bool{}
		for i, x := range drawn {
			binary.BigEndian.PutUint32(ids[i][:], x)
			known[ids[i]] = true
		}
		set := NewIdentifiers(ids)
		program := append([]bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 4}}, set.tree...)
		vm := machine(t, program)
		others := rapid.SliceOfN(rapid.Uint32(), 0, 50).Draw(t, "others")
		for i, x := range drawn {
			if i < 50 {
				others = append(others, x, x+1, x-1)
			}
		}
		for _, x := range others {
			var i wire.Identifier
			binary.BigEndian.PutUint32(i[:], x)
			if got := run(t, vm, i[:]) > 0; got != known[i] || set.has(i) != known[i] {
				t.Fatalf("%x: the program knows it: %v, Go: %v, want %v", x, got, set.has(i), known[i])
			}
		}
	})
}

func TestSteer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Steer{rapid.Uint32().Draw(t, "seed") | 1, rapid.IntRange(1, 64).Draw(t, "sockets")}
		vm := machine(t, s.Program())
		datagram := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "datagram")
		got, want := run(t, vm, datagram), 0
		if len(datagram) >= wire.OffsetIdentifier+4 {
			want = s.Socket(wire.Identifier(datagram[wire.OffsetIdentifier:]))
		}
		if got != want || got >= s.Sockets {
			t.Fatalf("socket %d of %d, Go says %d", got, s.Sockets, want)
		}
	})
	// Clients spread over the sockets.
	count := [4]int{}
	for i := range 10_000 {
		count[Steer{0x9e3779b1, 4}.Socket(id(fmt.Sprintf("%04d", i)))]++
	}
	for i, n := range count {
		if n < 2000 {
			t.Errorf("socket %d gets %d of 10,000 clients", i, n)
		}
	}
}

// FuzzAgree holds Go and the machine equal, for any rules and any datagram.
func FuzzAgree(f *testing.F) {
	for _, p := range packets() {
		f.Add(int8(2), int64(0), int8(1), int64(1), int8(0), uint16(3), p)
		f.Add(int8(2), int64(-1), int8(1), int64(0), int8(1), uint16(MaxIdentifiers+1), p)
	}
	f.Add(int8(0), int64(0), int8(1), int64(0), int8(-1), uint16(3), knock(func(k *wire.Knock) { k.Maximum = 0 }))
	f.Fuzz(func(t *testing.T, maximum int8, minuteA int64, indexA int8, minuteB int64, indexB int8, clients uint16, datagram []byte) {
		if len(datagram) > 65507 || maximum < 0 {
			return
		}
		r := Rules{maximum, []schedule.Place{{Minute: minute + schedule.Minute(minuteA), Index: indexA}, {Minute: minute + schedule.Minute(minuteB), Index: indexB}}, many(int(clients))}
		want := r.Accepts(datagram)
		if got := run(t, machine(t, r.Program()), withHeader(datagram)) > 0; got != want {
			t.Errorf("%+v: the program takes it: %v, Go: %v", r.Places, got, want)
		}
		if raw, _ := bpf.Assemble(r.Program()); !slices.Equal(raw, r.Raw()) {
			t.Error("assembled in parts it is another program")
		}
	})
}

func BenchmarkAccepts(b *testing.B) {
	for _, n := range []int{2, 100, MaxIdentifiers} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r, datagram := rules[0].rules, knock(nil)
			r.Identifiers = many(n)
			for b.Loop() {
				r.Accepts(datagram)
			}
		})
	}
}
