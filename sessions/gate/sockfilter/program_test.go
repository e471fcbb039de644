package sockfilter

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

// failer is a test, or a subtest.
type failer interface{ Fatal(...any) }

// run runs a program on the header of a packet.
func run(t failer, program []bpf.Instruction, source netip.Addr) bool {
	n, err := machine(t, program).Run(header(source))
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func header(source netip.Addr) []byte {
	b := make([]byte, 40)
	switch {
	case source.Is4():
		b[0] = 0x45
		copy(b[12:], source.AsSlice())
	case source.Is6():
		b[0] = 0x60
		copy(b[8:], source.AsSlice())
	}
	return b
}

// contains is the expected result of a program.
func (s Set) contains(a netip.Addr) bool {
	if s.Anyone {
		return true
	}
	for _, e := range s.Addresses {
		if e.Unmap().WithZone("") == a {
			return true
		}
	}
	for _, p := range s.Nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// near returns the addresses that differ from one in a single bit.
func near(a netip.Addr) (all []netip.Addr) {
	for i := range a.BitLen() {
		b := a.AsSlice()
		b[i/8] ^= 1 << (i % 8)
		other, _ := netip.AddrFromSlice(b)
		all = append(all, other)
	}
	return all
}

func TestProgram(t *testing.T) {
	one, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for name, s := range map[string]Set{
		"empty": {}, "anyone": {Anyone: true}, "one": {Addresses: []netip.Addr{one}}, "of IPv6": {Addresses: []netip.Addr{six}},
		"mapped": {Addresses: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}},
		"zone":   {Addresses: []netip.Addr{netip.MustParseAddr("fe80::1%2")}},
		"a net":  {Nets: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")}},
		"nets of IPv4": {Nets: []netip.Prefix{
			netip.MustParsePrefix("192.0.0.0/16"), netip.MustParsePrefix("10.0.0.0/31"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("0.0.0.0/16")},
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.1.0.0"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("255.255.255.255")}},
		"a net and one of its addresses": {
			Addresses: []netip.Addr{six, netip.MustParseAddr("2001:db8:0:1::1")}, Nets: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")}},
	} {
		program, fits := Program(s)
		if !fits {
			t.Fatalf("%s does not fit", name)
		}
		for _, a := range []netip.Addr{one, six, netip.MustParseAddr("fe80::1")} {
			for _, source := range append(near(a), a) {
				if got := run(t, program, source); got != s.contains(source) {
					t.Errorf("%s: %s: %v", name, source, got)
				}
			}
		}
	}
	// Packets of other protocols are refused.
	program, _ := Program(Set{Addresses: []netip.Addr{one, netip.IPv4Unspecified(), netip.IPv6Unspecified()}})
	if run(t, program, netip.Addr{}) {
		t.Error("a packet of no version was let through")
	}
}

// TestProgramAgainstModel: each source in the set passes, and none that differs
// in one bit.
func TestProgramAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few values per byte, so that entries share words.
		address := rapid.Custom(func(t *rapid.T) netip.Addr {
			if rapid.Bool().Draw(t, "four") {
				return netip.AddrFrom4([4]byte{192, 0, byte(rapid.IntRange(0, 9).Draw(t, "c")), byte(rapid.IntRange(0, 20).Draw(t, "d"))})
			}
			var b [16]byte
			binary.BigEndian.PutUint32(b[:], 0x20010db8)
			for _, i := range []int{5, 7, 11, 15} {
				b[i] = byte(rapid.IntRange(0, 3).Draw(t, "byte"))
			}
			return netip.AddrFrom16(b)
		})
		s := Set{Addresses: rapid.SliceOfN(address, 0, 60).Draw(t, "addresses")}
		for _, a := range rapid.SliceOfN(address, 0, 5).Draw(t, "nets") {
			bits := 64
			if a.Is4() {
				bits = rapid.IntRange(16, 32).Draw(t, "bits")
			}
			p, _ := a.Prefix(bits)
			s.Nets = append(s.Nets, p)
		}
		program, fits := Program(s)
		if !fits {
			t.Fatal("does not fit")
		}
		for _, a := range rapid.SliceOfN(address, 1, 20).Draw(t, "sources") {
			if got := run(t, program, a); got != s.contains(a) {
				t.Fatalf("%s: %v", a, got)
			}
		}
		for _, a := range s.Addresses {
			if !run(t, program, a) {
				t.Fatalf("%s is refused", a)
			}
		}
	})
}

// spread returns addresses that share no words, the most expensive kind.
func spread(n int, six bool) (all []netip.Addr) {
	for i := range n {
		x := uint32(i+1) * 2654435761
		if !six {
			all = append(all, netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, x))))
			continue
		}
		var b [16]byte
		for w := range 4 {
			binary.BigEndian.PutUint32(b[4*w:], x*uint32(w+1))
		}
		all = append(all, netip.AddrFrom16(b))
	}
	return all
}
