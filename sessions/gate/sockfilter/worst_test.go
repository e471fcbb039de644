package sockfilter

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

// worst returns Max addresses of the most expensive kind: no two share a word,
// and each word requires two further instructions because it is above 2^31. A
// host may have each of them.
func worst(six bool) (all []netip.Addr) {
	for i := range uint32(Max) {
		word := func(n uint32) uint32 { return 1<<31 | (i*4+n+1)*2654435761%(1<<28) }
		var b [16]byte
		for n := range uint32(4) {
			binary.BigEndian.PutUint32(b[4*n:], word(n))
		}
		if six {
			all = append(all, netip.AddrFrom16(b))
		} else {
			all = append(all, netip.AddrFrom4([4]byte(b[:4])))
		}
	}
	return all
}

// machine returns a VM for a program on packets that begin with the network
// header: the VM does not support the offset for it.
func machine(t failer, program []bpf.Instruction) *bpf.VM {
	moved := make([]bpf.Instruction, len(program))
	for i, in := range program {
		if load, ok := in.(bpf.LoadAbsolute); ok {
			load.Off -= network
			in = load
		}
		moved[i] = in
	}
	vm, err := bpf.NewVM(moved)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// TestWorst: in the largest set, each address passes, and none that differs in
// one bit.
func TestWorst(t *testing.T) {
	for _, kind := range []string{"IPv4", "IPv4 networks", "IPv6"} {
		all := worst(kind == "IPv6")
		granted := map[netip.Addr]bool{}
		for _, a := range all {
			granted[a] = true
		}
		if len(granted) != Max {
			t.Fatalf("%d addresses", len(granted))
		}
		set := Set{Addresses: all}
		if kind == "IPv4 networks" {
			set = Set{}
			for _, a := range all {
				p, _ := a.Prefix(31)
				set.Nets = append(set.Nets, p)
				granted[p.Addr()], granted[p.Addr().Next()] = true, true
			}
		}
		program, fits := Program(set)
		if !fits || len(program) > 4096 {
			t.Fatalf("fits: %v, %d instructions", fits, len(program))
		}
		t.Logf("%s: %d instructions", kind, len(program))
		vm := machine(t, program)
		for _, a := range all {
			for _, source := range append(near(a), a) {
				n, err := vm.Run(header(source))
				if err != nil || n > 0 != granted[source] {
					t.Fatalf("%s: %d, %v", source, n, err)
				}
			}
		}
	}
}

// TestAlwaysFits: for any Max entries, however they share words, the program is
// short enough for the kernel.
func TestAlwaysFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		random := rapid.Uint32().Draw(t, "seed")
		bits := rapid.SliceOfN(rapid.IntRange(0, 31), 4, 4).Draw(t, "bits of each word that differ")
		four := rapid.Uint32Range(0, Max).Draw(t, "of IPv4")
		nets := rapid.Uint32Range(0, Max-four).Draw(t, "networks")
		for i := range uint32(Max) {
			var b [16]byte
			for w := range uint32(4) {
				random = random*1664525 + 1013904223
				binary.BigEndian.PutUint32(b[4*w:], random>>(31-bits[w]))
			}
			switch {
			case i < four && i%2 == 0:
				p, _ := netip.AddrFrom4([4]byte(b[:4])).Prefix(16 + int(random>>16)%17)
				s.Nets = append(s.Nets, p)
			case i < four:
				s.Addresses = append(s.Addresses, netip.AddrFrom4([4]byte(b[:4])))
			case i < four+nets:
				s.Nets = append(s.Nets, netip.PrefixFrom(netip.AddrFrom16(b), 64))
			default:
				s.Addresses = append(s.Addresses, netip.AddrFrom16(b))
			}
		}
		program, fits := Program(s)
		if _, err := bpf.Assemble(program); !fits || err != nil || len(program) > 4096 {
			t.Fatalf("fits: %v, %d instructions, %v", fits, len(program), err)
		}
		vm := machine(t, program)
		for _, a := range s.Addresses {
			if n, err := vm.Run(header(a.Unmap())); err != nil || n == 0 {
				t.Fatalf("%s is refused: %v", a, err)
			}
		}
	})
}

// FuzzProgram compares the program with contains, for any bytes in the place of
// the network header.
func FuzzProgram(f *testing.F) {
	one, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	s := Set{Addresses: []netip.Addr{one, six}, Nets: []netip.Prefix{netip.MustParsePrefix("2001:db8:0:1::/64")}}
	program, _ := Program(s)
	vm := machine(f, program)
	for _, a := range []netip.Addr{one, six, one.Next(), six.Next(), netip.MustParseAddr("2001:db8:0:1::7"), {}} {
		f.Add(header(a))
		f.Add(header(a)[:11])
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		want := false
		switch {
		case len(packet) >= 16 && packet[0]>>4 == 4:
			want = s.contains(netip.AddrFrom4([4]byte(packet[12:])))
		case len(packet) >= 24 && packet[0]>>4 == 6:
			want = s.contains(netip.AddrFrom16([16]byte(packet[8:])))
		}
		if n, err := vm.Run(packet); err != nil || n > 0 != want {
			t.Errorf("%x: %d, %v", packet, n, err)
		}
	})
}
