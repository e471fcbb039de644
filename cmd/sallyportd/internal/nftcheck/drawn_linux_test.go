package nftcheck

import (
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestDrawnPorts: other programs' rules must accept drawn ports and, after our table
// has redirected them, the real port; and they must not redirect what may be drawn.
func TestDrawnPorts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	outside := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "eth0", Addresses: []string{"10.71.0.1/24", "fd71::1/64"}}, outside,
		netns.End{Name: "up", Addresses: []string{"10.71.0.2/24", "fd71::2/64"}})
	if err := routeBy("10.71.0.2", "fd71::2"); err != nil {
		t.Fatal(err)
	}
	const keys = "port = \"rotate\"\nrotate_ports = \"20000-20999\"\nrotate_except = [20500]"
	redirected := "[[service]]\nname = \"site\"\ntype = \"firewall\"\nlisten = \":2000\"\n" + keys
	listening := proxy(":0", keys)
	const nat = "add table inet n\nadd chain inet n c { type nat hook prerouting priority %; }\nadd rule inet n c "
	at := func(priority, rule string) string { return strings.ReplaceAll(nat, "%", priority) + rule }
	const knocks = "udp dport 1025-65535 accept"
	early := strings.ReplaceAll(openNft, "hook input priority 0", "hook prerouting priority -300")
	for _, row := range []struct{ name, rules, redirected, listening string }{
		{"nothing is accepted", closedNft + knocks, "drops packets for service site: no rule accepts", "drops packets for service site: no rule accepts"},
		{"the real port", closedNft + knocks + again + "tcp dport 2000 accept", "", "drops packets for service site"},
		{"the drawn ports", closedNft + knocks + again + "tcp dport 20000-20999 accept", "drops packets for service site", ""},
		{"without the exception", closedNft + knocks + again + "tcp dport { 2000, 20000-20499, 20501-20999 } accept", "", ""},
		{"half of them", closedNft + knocks + again + "tcp dport 20000-20600 accept", "drops packets", "drops some packets for service site, to ports 20601-20999"},
		{"what is translated", closedNft + knocks + again + "ct status dnat accept", "", "drops packets for service site"},
		{"what is not translated is dropped", openNft + "meta l4proto tcp ct status & dnat == 0 drop", "", "drops packets for service site"},
		{"dropped early", early + "tcp dport 20000-20999 drop", "drops packets for service site", "drops packets for service site"},
		{"the real port is dropped early", early + "tcp dport 2000 drop", "", ""},
		{"an exception is redirected", at("dstnat", "tcp dport 20500 redirect to :22"), "", ""},
		{"a port is redirected", at("dstnat", "tcp dport 20600 redirect to :22"),
			"redirects port 20600 to port 22 of this host, and a lease may draw such a port: its client then reaches the service there",
			"redirects port 20600 to port 22 of this host, and a lease may draw such a port: its client then does not reach the service"},
		{"ports are redirected, earlier than by us", at("-150", "tcp dport 20100-20200 redirect to :22"),
			"redirects ports 20100 to 20200 to port 22 of this host, and a lease may draw such a port: its client then does not reach the service", "does not reach the service"},
		{"sent to another program", "add table inet n\nadd chain inet n c { type filter hook prerouting priority mangle; }\nadd rule inet n c tcp dport 20600 tproxy to :22", "does not reach the service", "does not reach the service"},
		{"the real port leads elsewhere", at("dstnat", "tcp dport 2000 dnat ip to 10.71.0.9:80"), "but the drawn ports lead to port 2000 of this host itself", ""},
		{"another port leads to the real one", at("dstnat", "tcp dport 8080 redirect to :2000"), "", ""},
		{"clients get another address", "add table inet n\nadd chain inet n c { type nat hook input priority 100; }\nadd rule inet n c tcp dport 20600 snat ip to 10.71.0.1", "", "changes the source address of clients"},
	} {
		for name, of := range map[string][2]string{"redirected": {redirected, row.redirected}, "listening": {listening, row.listening}} {
			t.Run(row.name+", "+name, func(t *testing.T) {
				nftLoad(t, row.rules)
				got := joined(Check(configtest.Parse(t, "", of[0]), config.Host{FilterTCP: true, FirstOpenPort: 1024}))
				if of[1] == "" && got != "" || !strings.Contains(got, of[1]) {
					t.Errorf("got  %q\nwant %q", got, of[1])
				}
			})
		}
	}
}
