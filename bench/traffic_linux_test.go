package bench

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/flood"
	"sallyport/bench/scenario"
	"sallyport/bench/target"
	"sallyport/sessions/client"
)

func networkOf(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 24).Masked() }

// TestSources: a spoofed flood comes from many networks, an attacker who cannot spoof has
// one, and none of them is a network of an honest client.
func TestSources(t *testing.T) {
	honest := networkOf(honestSources)
	for from, want := range map[scenario.Sources]int{scenario.ManyNetworks: floodNetworks, scenario.OneNetwork: 1, scenario.ClientsNetwork: 1} {
		networks, addresses := map[netip.Prefix]bool{}, map[netip.Addr]bool{}
		for i := range floodFrames {
			a := sourceOf(from, i)
			networks[networkOf(a)], addresses[a] = true, true
		}
		if len(networks) != want || networks[honest] != (from == scenario.ClientsNetwork) {
			t.Errorf("%v: %d networks", from, len(networks))
		}
		if from == scenario.ManyNetworks && len(addresses) != floodFrames {
			t.Errorf("%d addresses for %d datagrams", len(addresses), floodFrames)
		}
	}
}

// TestHonestSources: attempts have different addresses, by which their grants are matched.
// Only a client that knocks alone has one network.
func TestHonestSources(t *testing.T) {
	a := &traffic{random: rand.New(rand.NewPCG(1, 2)), link: flood.Link{Host: serverAddress}, nonces: make([]uint32, 3)}
	a.server = new(target.Server)
	for i := range a.nonces {
		a.server.Profiles = append(a.server.Profiles, client.Profile{
			Server: serverAddress.String(), PortSecret: "port secret", Ports: 1, Identifier: scenario.ClientID(i), Secret: []byte("secret"),
		})
	}
	const n = 600
	for _, who := range []knocking{everyClient, allButFirst, onlyFirst} {
		_, attempts, _, err := a.honest(n, who, func(int) time.Time { return time.Unix(1_760_000_000, 0) })
		if err != nil {
			t.Fatal(err)
		}
		networks, addresses := map[netip.Prefix]bool{}, map[netip.Addr]bool{}
		for _, at := range attempts {
			networks[networkOf(at.source)], addresses[at.source] = true, true
		}
		if who == onlyFirst && len(networks) != 1 || who != onlyFirst && len(addresses) != n {
			t.Errorf("knocking %d: %d addresses in %d networks", who, len(addresses), len(networks))
		}
	}
}
