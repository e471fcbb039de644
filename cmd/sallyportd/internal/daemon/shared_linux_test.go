package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestSpread: with spread = "all", a sequence to one server of a fleet opens the service at
// both, for the address from which it came; with "local", only there. A closing sequence
// and a revocation at one of them close at both.
func TestSpread(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	host := clocktest.NewHost()
	c := host.Clock()
	host.Step(time.Until(time.Now().Truncate(time.Minute).Add(20 * time.Second))) // far from another minute
	e := etcdtest.Start(t, etcdtest.Options{})
	const shared = "spread = \"all\"\nopen_for = \"10m\"\nopen_max = \"10m\""
	servers := []*fleetServer{
		join(t, c, "127.0.0.1", e.Gateway(t).Endpoints(), shared), join(t, c, "127.0.0.2", e.Gateway(t).Endpoints(), shared),
		join(t, c, "127.0.0.3", e.Gateway(t).Endpoints(), "open_for = \"10m\"\nopen_max = \"10m\""),
	}
	a, b, local := servers[0], servers[1], servers[2]
	base := uint32(10)
	send := func(f *fleetServer, make func(client.Profile, time.Time, uint32) ([]client.Packet, error)) {
		t.Helper()
		base += 10
		packets, err := make(client.Profile{
			Server: "x", PortSecret: "the port secret", Ports: 3, Service: ":8080",
			Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1"),
		}, c.Wall(), base)
		if err != nil {
			t.Fatal(err)
		}
		f.send(packets)
	}

	watched := watchFeed(t, b.server)
	opened := increased(b, "grant_opened")
	send(a, client.Sequence)
	a.await("the grant", func() bool { return a.count(sessions.Opened) == 1 })
	b.await("the grant of the other server", opened)
	if g := <-watched; g.Client != "com1" || !slices.Equal(g.Services, []string{"web"}) {
		t.Errorf("the other server announces %+v", g)
	}
	if !reaches(a, fleetClient, time.Minute) || !reaches(b, fleetClient, time.Minute) || reaches(b, fleetStranger, 300*time.Millisecond) || reaches(local, fleetClient, time.Minute) {
		t.Errorf("the service is open at %v, %v, %v", reaches(a, fleetClient, time.Minute), reaches(b, fleetClient, time.Minute), reaches(local, fleetClient, time.Minute))
	}

	closed := increased(a, "grant_closed")
	send(b, client.ClosingSequence)
	a.await("the closing sequence at the other server", closed)
	if reaches(a, fleetClient, time.Minute) || reaches(b, fleetClient, time.Minute) {
		t.Error("the service is open after a closing sequence")
	}

	opened = increased(b, "grant_opened")
	send(a, client.Sequence)
	b.await("another grant of the other server", opened)
	revoked := increased(b, "grant_revoked")
	if _, err := a.server.Restrict(t.Context(), admin.Restriction{Client: "com1"}); err != nil {
		t.Fatal(err)
	}
	b.await("the revocation", revoked)
	if reaches(a, fleetClient, time.Minute) || reaches(b, fleetClient, time.Minute) {
		t.Error("the service is open after a revocation")
	}
}

// reaches reports whether a host can connect to the service of the server.
func reaches(f *fleetServer, from string, within time.Duration) bool {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from + ":0")), Timeout: within}
	conn, err := d.Dial("tcp", f.address+":8080")
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// increased returns what reports whether a counter of the server has increased since.
func increased(f *fleetServer, name string) func() bool {
	before := f.server.Counters()[name]
	return func() bool { return f.server.Counters()[name] > before }
}

// TestSpreadWithKeys: a server verifies a grant of another one by the key that the client
// has there. The secret itself is nothing there.
func TestSpreadWithKeys(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	host := clocktest.NewHost()
	c := host.Clock()
	host.Step(time.Until(time.Now().Truncate(time.Minute).Add(20 * time.Second))) // far from another minute
	e := etcdtest.Start(t, etcdtest.Options{})
	at := map[string]*fleetServer{}
	for i, name := range []string{"gw1", "gw2"} {
		at[name] = join(t, c, fmt.Sprintf("127.0.0.%d", i+1), e.Gateway(t).Endpoints(), "spread = \"all\"",
			fmt.Sprintf("name = %q\nclient_keys = \"gateway\"", name))
	}
	p := client.Profile{
		Server: "x", PortSecret: "the port secret", Ports: 3, Service: ":8080",
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1"),
	}
	base := uint32(10)
	key, err := wire.GatewayKey(p.Secret, "gw1")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{p.Secret, key} {
		signed := p
		signed.Secret = secret
		base += 10
		packets, err := client.Sequence(signed, c.Wall(), base)
		if err != nil {
			t.Fatal(err)
		}
		opened, wrong := increased(at["gw2"], "grant_opened"), increased(at["gw1"], "mac")
		at["gw1"].send(packets)
		if slices.Equal(secret, p.Secret) {
			at["gw1"].await("the refusal of the secret itself", wrong)
			continue
		}
		at["gw2"].await("the grant of the other server", opened)
		if !reaches(at["gw2"], fleetClient, time.Minute) {
			t.Error("the other server has not opened the service")
		}
	}
}
