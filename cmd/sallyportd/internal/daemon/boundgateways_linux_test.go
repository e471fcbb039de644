package daemon

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/gate/prove"
	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

// TestProofsAtGateways: a connection that has proved itself at one gateway, or could, gets in
// there only. With a key for each gateway, the proof for one is wrong at another; with the
// secret itself, it is good at one of them, once.
func TestProofsAtGateways(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const bound = "bind = \"connection\"\nspread = \"all\"\nopen_for = \"1h\"\nopen_max = \"1h\""
	id, secret := wire.Identifier([]byte("com1")), []byte("secret of com1")
	addHosts(t, "192.0.2.1", "192.0.2.2")
	e := etcdtest.Start(t, etcdtest.Options{})
	for _, keys := range []string{"gateway", "secret"} {
		t.Run(keys, func(t *testing.T) {
			host := clocktest.NewHost()
			host.Step(time.Until(time.Now().Truncate(time.Minute).Add(20 * time.Second))) // far from another minute
			c := host.Clock()
			var at [2]*fleetServer
			key := [2][]byte{secret, secret}
			for i := range at {
				at[i] = join(t, c, fmt.Sprintf("192.0.2.%d", i+1), e.Gateway(t).Endpoints(), bound,
					fmt.Sprintf("name = \"gw%d\"\ntimeout = \"10s\"\nclient_keys = %q\nprefix = \"/%s/\"", i+1, keys, keys))
				if keys == "gateway" {
					k, err := wire.GatewayKey(secret, fmt.Sprintf("gw%d", i+1))
					if err != nil {
						t.Fatal(err)
					}
					key[i] = k
				}
			}
			packets, err := client.Sequence(client.Profile{
				PortSecret: "the port secret", Ports: 3, Service: ":8080", Identifier: id, Secret: key[0],
			}, c.Wall(), 10)
			if err != nil {
				t.Fatal(err)
			}
			at[0].send(packets)
			for _, g := range at {
				g.await("the lease", func() bool { return len(g.server.gate.Leases()) == 1 })
			}
			proof := func(key []byte, nonce uint32) *preamble.Client {
				t.Helper()
				p, err := preamble.NewClient("web", id, uint32(c.Wall().Unix()), nonce, preamble.SecretMAC(key))
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			try := func(what string, g *fleetServer, p *preamble.Client, want int, counts prove.Outcome) {
				t.Helper()
				before := g.server.connections.Stats()[counts]
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(fleetClient)}}
				conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(g.address, "8080"))
				if err != nil {
					t.Fatal(err)
				}
				if status := proveOver(t, conn, p); status != want {
					t.Errorf("%s: status %d, want %d", what, status, want)
				}
				g.await(what, func() bool { return g.server.connections.Stats()[counts] == before+1 })
			}
			first := proof(key[0], 20)
			if keys == "gateway" {
				try("a proof for another gateway", at[1], first, 0, prove.MAC)
				try("the secret itself", at[1], proof(secret, 21), 0, prove.MAC)
			}
			try("a proof at its gateway", at[0], first, http.StatusOK, prove.Passed)
			try("the same again", at[0], first, 0, prove.Used)
			if keys == "gateway" {
				try("used, and for another gateway", at[1], first, 0, prove.MAC)
			} else {
				try("used at another gateway", at[1], first, 0, prove.Used)
			}
			try("a proof at the other gateway", at[1], proof(key[1], 30), http.StatusOK, prove.Passed)
		})
	}
}
