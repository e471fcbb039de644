package prefilter_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

const (
	minute = prefiltertest.Minute
	port   = prefiltertest.Port
)

// many returns n identifiers; nil for too many.
func many(n int) *prefilter.Identifiers {
	if n > prefilter.MaxIdentifiers {
		return nil
	}
	return prefilter.NewIdentifiers(prefiltertest.Identifiers(n))
}

// withHeader returns the datagram with its UDP header, on which the kernel runs a
// filter.
func withHeader(datagram []byte) []byte {
	b := make([]byte, 8, 8+len(datagram))
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(datagram)))
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

func TestGoAgrees(t *testing.T) {
	for _, r := range prefiltertest.Rows() {
		if got := r.Table.Accepts(r.Port, prefiltertest.Plain(nil)); got != r.Plain {
			t.Errorf("%s: a plain knock: %s, want %s", r.Name, got, r.Plain)
		}
		for _, p := range prefiltertest.Packets() {
			if got, want := r.Table.Accepts(r.Port, p.Datagram), r.Want(p.Datagram); got != want {
				t.Errorf("%s: %s: %s, want %s", r.Name, p.Name, got, want)
			}
		}
	}
}

// TestVerifierAgrees: the verifier refuses every datagram that a tier refuses, for
// the same reason, unless it checks the clock before.
func TestVerifierAgrees(t *testing.T) {
	for _, r := range prefiltertest.Rows() {
		if r.Clients == nil || r.Table.Maximum == prefilter.AnyMaximum {
			continue // no verifier has such rules
		}
		var clients []verify.Key
		for _, id := range r.Clients {
			clients = append(clients, verifytest.Client(id))
		}
		v := verify.New(verify.Rules{Table: verifytest.Table(t, clients...), Ports: int(r.Table.Maximum) + 1, Tolerance: time.Minute})
		for _, p := range prefiltertest.Packets() {
			_, got := v.Verify(p.Datagram, r.Table.Ports[r.Port], minute.Start().Unix()+30)
			want := r.Want(p.Datagram)
			if early := want != verify.Authentic && want < verify.ClockSkew; early && got != want ||
				want == verify.Identifier && got != want && got != verify.ClockSkew ||
				want == verify.Authentic && got < verify.ClockSkew {
				t.Errorf("%s: %s: the verifier: %s, the table: %s", r.Name, p.Name, got, want)
			}
		}
	}
}

func TestMachineAgrees(t *testing.T) {
	for _, r := range prefiltertest.Rows() {
		vm, accepted := machine(t, r.Table.Program(r.Port)), 0
		for _, p := range prefiltertest.Packets() {
			want := r.Want(p.Datagram) == verify.Authentic
			if got := run(t, vm, withHeader(p.Datagram)) > 0; got != want {
				t.Errorf("%s: %s: the program accepts it: %v, want %v", r.Name, p.Name, got, want)
			}
			if want {
				accepted++
			}
		}
		if accepted == len(prefiltertest.Packets()) {
			t.Errorf("%s: accepts everything", r.Name)
		}
	}
}

// TestLengthIsTheHeaders: bytes behind a datagram in the buffer do not count.
func TestLengthIsTheHeaders(t *testing.T) {
	r := prefiltertest.Rows()[0]
	vm := machine(t, r.Table.Program(r.Port))
	packet := withHeader(prefiltertest.Plain(nil))
	if run(t, vm, append(packet, packet...)) == 0 {
		t.Error("refused because of the bytes behind it")
	}
	packet[5]++
	if run(t, vm, append(packet, 0)) != 0 {
		t.Error("accepted, though its header says that it is longer")
	}
}

func TestProgramsFitTheKernel(t *testing.T) {
	places := map[uint16][]schedule.Place{port: make([]schedule.Place, 2*schedule.MaxLive)}
	for n := range prefilter.MaxIdentifiers + 1 {
		if n > 300 && n%97 != 0 && n < prefilter.MaxIdentifiers-1 {
			continue
		}
		raw, err := bpf.Assemble(prefilter.Table{Maximum: 2, Ports: places, Identifiers: many(n)}.Program(port))
		if err != nil {
			t.Fatalf("%d clients: %v", n, err)
		}
		if len(raw) > 4096 {
			t.Errorf("%d clients: %d instructions", n, len(raw))
		}
	}
	table := prefilter.Table{Maximum: 2, Ports: places}
	unknown := table.Raw(port)
	if table.Identifiers = many(prefilter.MaxIdentifiers + 1); !slices.Equal(table.Raw(port), unknown) {
		t.Error("a program has more identifiers than fit")
	}
}

func TestSteer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := prefilter.Steer{Seed: rapid.Uint32().Draw(t, "seed") | 1, Sockets: rapid.IntRange(1, 64).Draw(t, "sockets")}
		vm := machine(t, s.Program())
		datagram := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "datagram")
		got, want := run(t, vm, datagram), 0
		if len(datagram) >= wire.OffsetIdentifier+4 {
			want = s.Socket(wire.Identifier(datagram[wire.OffsetIdentifier:]))
		}
		if got != want || got >= s.Sockets {
			t.Fatalf("socket %d of %d, Go: %d", got, s.Sockets, want)
		}
	})
	// Clients spread over the sockets.
	count := [4]int{}
	for i := range 10_000 {
		count[prefilter.Steer{Seed: 0x9e3779b1, Sockets: 4}.Socket(wire.Identifier(fmt.Appendf(nil, "%04d", i)))]++
	}
	for i, n := range count {
		if n < 2000 {
			t.Errorf("socket %d gets %d of 10,000 clients", i, n)
		}
	}
}

// FuzzAgree compares Go with the BPF machine, for any rules and any datagram.
func FuzzAgree(f *testing.F) {
	for _, p := range prefiltertest.Packets() {
		f.Add(int8(2), int64(0), int8(1), int64(1), int8(0), uint16(3), p.Datagram)
	}
	f.Add(int8(0), int64(0), int8(1), int64(0), int8(-1), uint16(3), prefiltertest.Plain(func(k *wire.Knock) { k.Maximum = 0 }))
	f.Fuzz(func(t *testing.T, maximum int8, minuteA int64, indexA int8, minuteB int64, indexB int8, clients uint16, datagram []byte) {
		if len(datagram) > 65507 || maximum < prefilter.AnyMaximum {
			return
		}
		places := []schedule.Place{{Minute: minute + schedule.Minute(minuteA), Index: indexA}, {Minute: minute + schedule.Minute(minuteB), Index: indexB}}
		r := prefilter.Table{Maximum: maximum, Ports: map[uint16][]schedule.Place{port: places}, Identifiers: many(int(clients))}
		want := r.Accepts(port, datagram) == verify.Authentic
		if got := run(t, machine(t, r.Program(port)), withHeader(datagram)) > 0; got != want {
			t.Errorf("%+v: the program accepts it: %v, Go: %v", places, got, want)
		}
		if raw, _ := bpf.Assemble(r.Program(port)); !slices.Equal(raw, r.Raw(port)) {
			t.Error("assembled in parts, the program differs")
		}
		if r.Accepts(port+1, datagram) == verify.Authentic || run(t, machine(t, r.Program(port+1)), withHeader(datagram)) > 0 {
			t.Error("accepted at a port that is not in the table")
		}
	})
}

func BenchmarkAccepts(b *testing.B) {
	for _, n := range []int{2, 100, prefilter.MaxIdentifiers} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			r, datagram := prefiltertest.Rows()[0].Table, prefiltertest.Plain(nil)
			r.Identifiers = many(n)
			b.ReportAllocs()
			for b.Loop() {
				r.Accepts(port, datagram)
			}
		})
	}
}
