package daemon

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/wire"
)

// TestFirewallAgreesWithTheTable runs the rows of the knock rules through the last
// of their tiers, the firewall's knock set, with nftables and a client's host. It
// knows ports, the length and the magic: it lets every datagram in at an open port
// that has both, and none elsewhere.
func TestFirewallAgreesWithTheTable(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	host := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "srv", Addresses: []string{server4 + "/24", server6 + "/64"}}, host, netns.End{Name: "cli", Addresses: []string{"198.51.100.2/24", "2001:db8::2/64"}})
	// The marker that ends each row: the firewall always lets it through.
	const marker = 65_535
	packets := prefiltertest.Packets()
	like := 0
	for _, p := range packets {
		if len(p.Datagram) == wire.Size && string(p.Datagram[:len(wire.Magic)]) == wire.Magic {
			like++
		}
	}
	if like == 0 || like == len(packets) {
		t.Fatalf("%d of %d datagrams look like knocks", like, len(packets))
	}
	for _, row := range prefiltertest.Rows() {
		table, err := firewall.Claim(firewall.Config{Stealth: true, Except: []uint16{marker}}, firewall.Owner{}, false, clock.System())
		if err != nil {
			t.Fatal(err)
		}
		// As ingest does: the tier gets the ports that the table has.
		var open []uint16
		for port := range row.Table.Ends() {
			open = append(open, port)
		}
		if slices.Contains(open, row.Port) != row.Open() {
			t.Fatalf("%s: the table's ports are %v", row.Name, open)
		}
		if len(open) > 0 {
			if err := table.OpenKnockPorts(open, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		for _, address := range []string{server4, server6} {
			got := received(t, host, netip.MustParseAddr(address), row.Port, marker, packets)
			want := 0
			if row.Open() {
				want = like
			}
			if got != want {
				t.Errorf("%s, %s: %d of %d datagrams came in, want %d", row.Name, address, got, len(packets), want)
			}
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// received sends datagrams to a port, and returns how many arrived.
func received(t *testing.T, host *netns.Host, to netip.Addr, port, marker uint16, packets []prefiltertest.Packet) (n int) {
	t.Helper()
	listen := func(port uint16) *net.UDPConn {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	in, last := listen(port), listen(marker)
	defer in.Close()
	defer last.Close()
	if err := in.SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	err := host.Do(func() error {
		c, err := net.ListenUDP("udp", nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, p := range packets {
			if _, err := c.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(to, port)); err != nil {
				return err
			}
		}
		_, err = c.WriteToUDPAddrPort(nil, netip.AddrPortFrom(to, marker))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	// The link keeps the order: when the marker is here, so is all that was let in.
	if _, _, err := last.ReadFromUDPAddrPort(buffer); err != nil {
		t.Fatal(err)
	}
	raw, err := in.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		for err == nil {
			if _, _, err = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT); err == nil {
				n++
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
