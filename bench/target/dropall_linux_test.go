package target

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"sallyport/bench/flood"
	"sallyport/bench/netns"
)

// TestDropAll: the reference drops the datagrams to its port, and nothing else.
func TestDropAll(t *testing.T) {
	if !netns.Privileged() {
		t.Skip("needs the host's root")
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Instructions: dropAllProgram(4000),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	l := flood.Link{From: make(net.HardwareAddr, 6), To: make(net.HardwareAddr, 6), Host: netip.MustParseAddr("198.18.0.1")}
	sound := l.Frame(netip.MustParseAddrPort("198.18.0.2:4000"), 4000, []byte("x"))
	changed := func(at int, b ...byte) []byte {
		f := slices.Clone(sound)
		copy(f[at:], b)
		return f
	}
	for _, row := range []struct {
		name  string
		frame []byte
		want  uint32
	}{
		{"to the port", sound, xdpDrop},
		{"to another port", l.Frame(netip.MustParseAddrPort("198.18.0.2:4000"), 4001, []byte("x")), xdpPass},
		{"TCP", changed(14+9, 6), xdpPass},
		{"IPv6", changed(12, 0x86, 0xdd), xdpPass},
		{"ARP", changed(12, binary.BigEndian.AppendUint16(nil, 0x0806)...), xdpPass},
		{"IPv4 options", changed(14, 0x46), xdpPass},
		{"cut short", sound[:20], xdpPass},
	} {
		got, err := program.Run(&ebpf.RunOptions{Data: row.frame})
		if err != nil || got != row.want {
			t.Errorf("%s: verdict %d, want %d; %v", row.name, got, row.want, err)
		}
	}
}
