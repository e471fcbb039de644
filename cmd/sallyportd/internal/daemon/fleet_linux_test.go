package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// fleetServer is a server of a fleet, at an address of the loopback interface.
type fleetServer struct {
	t       *testing.T
	address string
	server  *Server
	log     strings.Builder
	mu      sync.Mutex // of log
	stop    func()
}

func (f *fleetServer) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(b)
}

// hasLines waits until the log has so many lines, since it may get a line after its cause.
// It fails the test if the log has more.
func (f *fleetServer) hasLines(text string, want int) {
	f.t.Helper()
	f.await("the line "+text, func() bool { return f.lines(text) >= want })
	if n := f.lines(text); n != want {
		f.t.Errorf("%d lines: %s", n, text)
	}
}

func (f *fleetServer) lines(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Count(f.log.String(), text)
}

// The hosts that connect to the servers of a fleet. A grant for a loopback address stays at
// its server.
const fleetClient, fleetStranger = "192.0.2.9", "192.0.2.8"

// addHosts gives the loopback interface of the namespace the addresses of these hosts, and
// more.
func addHosts(t *testing.T, more ...string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range append(more, fleetClient, fleetStranger) {
		a, err := netip.ParseAddr(host)
		if err == nil {
			own := net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
			err = netlink.AddrReplace(lo, &netlink.Addr{IPNet: &own, Flags: unix.IFA_F_NODAD})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// join starts a server of a fleet, which ends with the test. Its service, and [fleet], have
// more keys.
func join(t *testing.T, c clock.Clock, address string, etcd []string, keys string, fleet ...string) *fleetServer {
	t.Helper()
	addHosts(t)
	fleet = append(fleet, fmt.Sprintf("name = %q", "gateway-"+address))
	if !strings.Contains(fleet[0], "timeout") {
		fleet[0] += "\ntimeout = \"1s\""
	}
	f := &fleetServer{t: t, address: address}
	dir := t.TempDir()
	if err := state.Create(dir); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("c.toml", fmt.Appendf(nil, `
listen = [%q]
ports = 3
port_secret = "the port secret"
clients = "clients.txt"
state_dir = %q
readers = 1
[[service]]
name = "web"
type = "web"
listen = %[6]q
%[4]s
[fleet]
endpoints = [%[3]q]
%[5]s
`, address, dir, etcd[0], keys, fleet[0], net.JoinHostPort(address, "8080")))
	if err != nil {
		t.Fatal(err)
	}
	list := clients.List{{Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1")}}
	f.server, err = New(t.Context(), cfg, list, nil, Env{Clock: c, Log: slog.New(slog.NewTextHandler(f, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.server.Run(ctx) }()
	<-f.server.Ready()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(f.stop)
	return f
}

// send sends a sequence to the server.
func (f *fleetServer) send(packets []client.Packet) {
	f.t.Helper()
	f.sendFrom(fleetClient, packets...)
}

// sendFrom sends knocks to the server from a host.
func (f *fleetServer) sendFrom(host string, packets ...client.Packet) {
	f.t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	for _, p := range packets {
		to := netip.AddrPortFrom(netip.MustParseAddr(f.address), p.Port)
		if _, err := c.WriteToUDPAddrPort(p.Datagram, to); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fleetServer) count(o sessions.Outcome) uint64 { return f.server.sessions.Stats()[o] }

func (f *fleetServer) await(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s: does not come; %v", what, f.server.Counters())
		}
	}
}

// TestFleet: a sequence that one server of a fleet has granted opens nothing at another
// one. Without etcd nothing opens, and the log names that once; when etcd is back, the next
// sequence opens, without a restart. After a backup was restored, sequences are refused.
func TestFleet(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	host := clocktest.NewHost()
	c := host.Clock()
	host.Step(time.Until(time.Now().Truncate(time.Minute).Add(20 * time.Second))) // far from another minute
	e := etcdtest.Start(t, etcdtest.Options{})
	base := uint32(10)
	sequence := func() []client.Packet {
		t.Helper()
		base += 10
		packets, err := client.Sequence(client.Profile{
			Server: "x", PortSecret: "the port secret", Ports: 3, Service: ":8080",
			Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1"),
		}, c.Wall(), base)
		if err != nil {
			t.Fatal(err)
		}
		return packets
	}
	refused := func(f *fleetServer) uint64 {
		return f.count(sessions.UsedElsewhere) + f.count(sessions.Replay) + f.server.Counters()["below"]
	}
	early := sequence()
	a, b := join(t, c, "127.0.0.1", e.Gateway(t).Endpoints(), ""), join(t, c, "127.0.0.2", e.Gateway(t).Endpoints(), "")
	a.send(early) // of a client that knocked before this server joined the fleet
	a.await("the refusal of what was sent before the start", func() bool { return a.count(sessions.BeforeStart) > 0 })
	captured := sequence()
	a.send(captured)
	a.await("the grant", func() bool { return a.count(sessions.Opened) == 1 })
	if st := a.server.status().Fleet; st == nil || !st.Available || st.Name != "gateway-127.0.0.1" || st.Error != "" {
		t.Errorf("the status with etcd: %+v", st)
	}
	b.send(captured)
	b.await("the refusal", func() bool { return refused(b) > 0 })
	b.send(sequence())
	b.await("the grant at the other one", func() bool { return b.count(sessions.Opened) == 1 })
	backup := e.Snapshot(t)
	a.send(sequence())
	a.await("another grant", func() bool { return a.count(sessions.Opened) == 2 })

	e.Kill()
	for range 2 {
		before := a.server.Counters()["fleet_unavailable"]
		a.send(sequence())
		a.await("the refusal without etcd", func() bool { return a.server.Counters()["fleet_unavailable"] > before })
	}
	a.hasLines("etcd unavailable; nothing opens", 1)
	if a.count(sessions.Opened) != 2 || a.count(sessions.Unrecorded) != 2 {
		t.Errorf("%v", a.server.Counters())
	}
	if st := a.server.status().Fleet; st.Available || st.Error == "" {
		t.Errorf("the status without etcd: %+v", st)
	}
	e.Restart(t)
	e.Ready(t)
	a.send(sequence())
	a.await("the grant after the return", func() bool { return a.count(sessions.Opened) == 3 })
	e.Restore(t, backup, true)
	for _, f := range []*fleetServer{a, b} {
		opened := f.count(sessions.Opened)
		f.send(sequence())
		f.await("the gap", func() bool { return f.server.Counters()["fleet_gaps"] > 0 })
		f.await("the refusal after a gap", func() bool { return f.count(sessions.Unrecorded) > 0 })
		if f.count(sessions.Opened) != opened {
			t.Error("a sequence opened after a gap")
		}
	}
}
