package daemon

import (
	"fmt"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// gatewayConfig is the configuration of a gateway with its own keys.
func gatewayConfig(t *testing.T, name string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("c.toml", fmt.Appendf(nil, `
ports = 3
port_secret = "the port secret"
clients = "clients.txt"
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
[fleet]
name = %q
endpoints = ["http://127.0.0.1:2379"]
client_keys = "gateway"
`, name))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestGatewayKeys: the knocks of a profile with gateways are authentic at the gateway for
// which they were made, also during a rotation, and neither at another one nor without its
// key.
func TestGatewayKeys(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	id := wire.Identifier([]byte("com1"))
	list := clients.List{{Identifier: id, Secret: []byte("new"), Previous: []byte("old"), Until: now.Add(time.Hour)}}
	tables := map[string]*verify.KeyTable{}
	for _, name := range []string{"gw1", "gw2"} {
		p, err := newPlan(gatewayConfig(t, name), list, now)
		if err != nil {
			t.Fatal(err)
		}
		tables[name] = p.settings.Rules.Table
	}
	for _, secret := range []string{"new", "old"} {
		profile := client.Profile{
			Ports: 3, PortSecret: "the port secret", Identifier: id, Secret: []byte(secret),
			Gateways: []client.Gateway{{Name: "gw1", Server: "192.0.2.1"}, {Name: "gw2", Server: "192.0.2.2"}},
		}
		at, err := profile.AtGateways(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for of, p := range map[string]client.Profile{"gw1": at[0], "gw2": at[1], "none": profile} {
			packets, err := client.Sequence(p, now, 7)
			if err != nil {
				t.Fatal(err)
			}
			var datagrams []byte
			for _, packet := range packets {
				datagrams = append(datagrams, packet.Datagram...)
			}
			for name, table := range tables {
				if _, reason := table.Attempt(datagrams, 3, now.Unix()); (reason == verify.Authentic) != (name == of) {
					t.Errorf("%s: knocks for %s at %s: %v", secret, of, name, reason)
				}
			}
		}
	}
}

// TestOtherGateway: a sequence that an attacker has read on its way to one gateway opens
// nothing at another one, nor does one that is signed with the secret itself: both count
// as a wrong MAC.
func TestOtherGateway(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	host := clocktest.NewHost()
	c := host.Clock()
	host.Step(time.Until(time.Now().Truncate(time.Minute).Add(20 * time.Second))) // far from another minute
	// There is no etcd: an authentic sequence counts as one that was not recorded.
	servers := map[string]*fleetServer{}
	for i, name := range []string{"gw1", "gw2"} {
		servers[name] = join(t, c, fmt.Sprintf("127.0.0.%d", i+1), []string{"http://127.0.0.1:2379"}, "",
			fmt.Sprintf("name = %q\nclient_keys = \"gateway\"", name))
	}
	p := client.Profile{
		Server: "x", PortSecret: "the port secret", Ports: 3, Service: ":8080",
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1"),
	}
	sequence := func(p client.Profile, base uint32) []client.Packet {
		t.Helper()
		packets, err := client.Sequence(p, c.Wall(), base)
		if err != nil {
			t.Fatal(err)
		}
		return packets
	}
	plain := sequence(p, 10)
	p.Gateways = []client.Gateway{{Name: "gw1", Server: "127.0.0.1"}}
	all, err := p.AtGateways(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	captured := sequence(all[0], 20)
	for i, packets := range [][]client.Packet{captured, plain} {
		servers["gw2"].send(packets)
		servers["gw2"].await("the refusal", func() bool { return servers["gw2"].server.Counters()["mac"] == uint64(3*(i+1)) })
	}
	if n := servers["gw2"].count(sessions.Unrecorded) + servers["gw2"].count(sessions.Opened); n != 0 {
		t.Errorf("gw2 has accepted %d sequences for another gateway", n)
	}
	servers["gw1"].send(captured)
	servers["gw1"].await("the sequence at its own gateway", func() bool { return servers["gw1"].count(sessions.Unrecorded) == 1 })
}
