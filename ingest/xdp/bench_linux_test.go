package xdp

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// BenchmarkProgram measures the program alone, by test runs on one frame, in ns a
// packet: the driver's work is not in it. "drop-all" is the shortest program.
func BenchmarkProgram(b *testing.B) {
	for name, ports := range map[string]portRange{"no-nat": noPort, "nat": allPort} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, Sizes{})
			r.setFlows(ports)
			benchmark(b, r)
		})
	}
}

func benchmark(b *testing.B, r *rig) {
	r.setTable(prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}}})
	e := r.setClients(wire.Identifier([]byte("com1")))[wire.Identifier([]byte("com1"))]
	e.Highest.Store(8)
	dropAll, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "drop_all", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer dropAll.Close()
	datagram := func(change func(k *wire.Knock)) []byte { return prefiltertest.Plain(change) }
	magic := datagram(nil)
	magic[0] = 'p'
	const all = FlagRing | FlagClients | FlagNonces
	r.beat()
	for _, c := range []struct {
		name    string
		payload []byte
		program *ebpf.Program
		flags   uint32
		want    int
	}{
		{"drop-all", datagram(nil), dropAll, 0, -1},
		{"other-port", datagram(nil), nil, all, CountOther},
		{"bad-magic", magic, nil, all, CountMagic},
		{"unknown", datagram(func(k *wire.Knock) { k.Identifier = wire.Identifier([]byte("com2")) }), nil, all, CountIdentifier},
		{"nonce", datagram(func(k *wire.Knock) { k.Nonce = 1 << 30 }), nil, all, CountAhead},
		{"ring", datagram(nil), nil, all, CountRing},
		{"ring-shares", datagram(nil), nil, all | FlagShares, CountRing},
	} {
		for _, v6 := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/ip6=%v", c.name, v6), func(b *testing.B) {
				port := livePort
				if c.want == CountOther {
					port = otherPort
				}
				frame := knockTo(v6, port, c.payload).bytes()
				program := c.program
				r.settings.Flags.Store(c.flags)
				if program == nil {
					program = r.native
					if got := r.run(program, frame); got != c.want {
						b.Fatalf("counter %d, want %d", got, c.want)
					}
				}
				var took time.Duration
				runs := 0
				for b.Loop() {
					const chunk = DefaultSlots / 8 // no ring fills
					r.beat()
					_, one, err := program.Benchmark(frame, chunk, nil)
					if err != nil {
						b.Fatal(err)
					}
					took, runs = took+one, runs+1
					r.drain()
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(runs), "ns/packet")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
