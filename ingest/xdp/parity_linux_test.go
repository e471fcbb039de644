package xdp

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify"
)

// countOf is the counter of each reason that the program knows.
var countOf = map[verify.Reason]int{
	verify.Size: CountSize, verify.Magic: CountMagic, verify.Malformed: CountMalformed,
	verify.Maximum: CountMaximum, verify.Sequence: CountSequence, verify.Minute: CountMinute,
	verify.Identifier: CountIdentifier, verify.Authentic: CountRing,
}

func (r *rig) variants() map[string]*ebpf.Program {
	return map[string]*ebpf.Program{"native": r.native, "generic": r.generic}
}

// TestProgramAgrees sends each packet to each row's port, over IPv4 and IPv6, in each
// variant, plain and behind a VLAN tag.
func TestProgramAgrees(t *testing.T) {
	for _, row := range prefiltertest.Rows() {
		t.Run(row.Name, func(t *testing.T) {
			r := newRig(t, Sizes{Clients: 4 * len(row.Clients), Slots: 1 << 10})
			r.setTable(row.Table)
			flags := uint32(FlagRing)
			if row.Clients != nil {
				flags |= FlagClients
				r.setClients(row.Clients...)
			}
			r.settings.Flags.Store(flags)
			for mode, program := range r.variants() {
				for _, v6 := range []bool{false, true} {
					for _, p := range prefiltertest.Packets() {
						r.agrees(mode, program, row, p, v6)
					}
				}
			}
		})
	}
}

func (r *rig) agrees(mode string, program *ebpf.Program, row prefiltertest.Row, p prefiltertest.Packet, v6 bool) {
	reason := row.Want(p.Datagram)
	want, tagged := countOf[reason], countOf[reason]
	if reason == verify.Authentic {
		tagged = CountSocket
	}
	switch {
	case !row.Open():
		want, tagged = CountOther, CountOther
	case mode == "generic" && len(p.Datagram) > 48:
		want, tagged = CountSocket, CountSocket
	case slices.ContainsFunc(row.Table.Ports[row.Port], socketOnly):
		want, tagged = CountSocket, CountSocket
	}
	f := knockTo(v6, row.Port, p.Datagram)
	if got := r.run(program, f.bytes()); got != want {
		r.Errorf("%s, IPv6 %v: %s: counter %d, want %d", mode, v6, p.Name, got, want)
	}
	all := r.drain()
	if want == CountRing && (len(all) != 1 || !bytes.Equal(all[0].Datagram[:], p.Datagram)) {
		r.Errorf("%s, IPv6 %v: %s: %d records", mode, v6, p.Name, len(all))
	}
	f.tags = []uint16{0x8100}
	if got := r.run(program, f.bytes()); got != tagged {
		r.Errorf("%s, IPv6 %v, tagged: %s: counter %d, want %d", mode, v6, p.Name, got, tagged)
	}
}
