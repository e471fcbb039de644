package nftcheck

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/firewall"
)

// world is this host, which forwards, between a stranger, which also uses it as a
// router, and a host behind it, such as a container.
//
//	stranger 10.71.0.2 - 10.71.0.1 this host 10.72.0.1 - 10.72.0.2 behind
type world struct {
	*testing.T
	stranger *netns.Host
}

const (
	hostByName   = "10.71.0.1"
	hostBy6      = "fd71::1"
	behindByName = "10.72.0.2"
	behindBy6    = "fd72::2"
)

func newWorld(t *testing.T) *world {
	w := &world{t, netns.NewHost(t)}
	behind := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "out", Addresses: []string{"10.71.0.1/24", "fd71::1/64"}}, w.stranger,
		netns.End{Name: "up", Addresses: []string{"10.71.0.2/24", "fd71::2/64"}})
	netns.Connect(t, netns.End{Name: "in", Addresses: []string{"10.72.0.1/24", "fd72::1/64"}}, behind,
		netns.End{Name: "up", Addresses: []string{"10.72.0.2/24", "fd72::2/64"}})
	w.must(w.stranger.Do(func() error { return routeBy("10.71.0.1", "fd71::1") }))
	w.must(behind.Do(func() error { return routeBy("10.72.0.1", "fd72::1") }))
	w.must(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	w.must(os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	w.must(behind.Do(func() error { return serveAll(t, "80", "53") }))
	w.must(serveAll(t, "8080", "8081"))
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func routeBy(gateways ...string) error {
	for _, g := range gateways {
		if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(g)}); err != nil {
			return err
		}
	}
	return nil
}

// serveAll greets all peers at the ports, by TCP and UDP.
func serveAll(t *testing.T, ports ...string) error {
	for _, port := range ports {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		u, err := net.ListenPacket("udp", ":"+port)
		if err != nil {
			return err
		}
		t.Cleanup(func() { u.Close() })
		go func() {
			b := make([]byte, 16)
			for {
				n, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				u.WriteTo(b[:n], from)
			}
		}()
	}
	return nil
}

// gets reports whether the stranger is let in at "tcp host:port", or refused.
func (w *world) gets(at string) (in bool) {
	w.Helper()
	network, to, _ := strings.Cut(at, " ")
	w.must(w.stranger.Do(func() error {
		// Rejected peers get an answer, so that the test need not wait.
		c, err := net.DialTimeout(network, to, 10*time.Second)
		if err != nil {
			return refusedOr(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if network == "udp" {
			if _, err := c.Write([]byte("hi")); err != nil {
				return refusedOr(err)
			}
			if _, err := c.Read(make([]byte, 16)); err != nil {
				return refusedOr(err)
			}
		} else if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			return refusedOr(err)
		}
		in = true
		return nil
	}))
	return in
}

func refusedOr(err error) error {
	if strings.Contains(err.Error(), "refused") {
		return nil
	}
	return err
}

func nftLoad(t *testing.T, rules string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("flush ruleset\n" + rules + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, rules, out)
	}
}

// nat is a chain that translates destinations, with rules.
func nat(family string, rules ...string) string {
	text := fmt.Sprintf("add table %s nat\nadd chain %s nat pre { type nat hook prerouting priority dstnat; }\n", family, family)
	for _, r := range rules {
		text += fmt.Sprintf("add rule %s nat pre %s\n", family, r)
	}
	return text
}

// guard is a service of type "firewall".
func guard(listen string, keys ...string) string {
	return fmt.Sprintf("[[service]]\nname = \"site\"\ntype = \"firewall\"\npolicy = \"reject\"\nlisten = %q\n%s\n", listen, strings.Join(keys, "\n"))
}

func proxy(listen string, keys ...string) string {
	return fmt.Sprintf("[[service]]\nname = \"site\"\ntype = \"proxy\"\nupstream = \"127.0.0.1:22\"\nlisten = %q\n%s\n", listen, strings.Join(keys, "\n"))
}

// TestWaysAroundTheGuard compares the warnings with what a stranger's packets do.
func TestWaysAroundTheGuard(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	w := newWorld(t)
	for _, row := range waysAround {
		t.Run(row.name, func(t *testing.T) {
			w := &world{t, w.stranger}
			nftLoad(t, row.rules)
			cfg := configtest.Parse(t, "", row.service)
			host := config.Host{FilterTCP: true, FirstOpenPort: 1024}
			if cfg.NeedsFirewall(host) != "" {
				_, err := firewall.Claim(cfg.Firewall(), firewall.Owner{Config: cfg.Path}, false, clock.System())
				w.must(err)
				t.Cleanup(func() { w.must(firewall.Clear()) })
			}
			warnings, err := Around(cfg, host)
			w.must(err)
			for i, want := range row.says {
				if i >= len(warnings) || !strings.Contains(warnings[i], want) {
					t.Errorf("warning %d is not %q", i, want)
				}
			}
			if len(warnings) != len(row.says) {
				t.Errorf("%d warnings, want %d", len(warnings), len(row.says))
			}
			if t.Failed() {
				t.Logf("%s", strings.Join(warnings, "\n"))
			}
			for at, want := range map[bool][]string{true: row.open, false: row.closed} {
				for _, x := range want {
					if got := w.gets(x); got != at {
						t.Errorf("%s: a stranger gets in: %t", x, got)
					}
				}
			}
			all := Check(cfg, host)
			i := slices.IndexFunc(all, func(w Warning) bool { return strings.Contains(w.Text, "cannot be read") })
			if i >= 0 {
				t.Errorf("our own table and others': %s", all[i])
			}
		})
	}
}

const (
	sitePort = "tcp " + hostByName + ":8080"
	site6    = "tcp [" + hostBy6 + "]:8080"
	direct   = "tcp " + behindByName + ":80"
)

const (
	input   = `hook = "input"`
	forward = `hook = "forward"`
	udp     = `protocol = "udp"`

	rejectsDirect = "add table inet f\nadd chain inet f forward { type filter hook forward priority 0; }\nadd rule inet f forward ip daddr 10.72.0.2 tcp dport 80 ct status ! dnat reject with tcp reset"
)

// waysAround are configurations and rulesets; what of this host is open to
// strangers with them, and closed; and the warnings.
var waysAround = []struct {
	name, rules, service string
	open, closed         []string
	says                 []string // each within one warning, in order
}{
	{"nothing is led", "", guard(":8080", input), nil, []string{sitePort}, nil},
	{"dnat, guarded at input", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":8080", input), []string{sitePort}, nil,
		[]string{`service site: the rule "tcp dport 8080 dnat to 10.72.0.2:80" of chain "ip nat pre" (handle 2) redirects its port past the guard, to 10.72.0.2:80: strangers get in there without a knock: `}},
	{"dnat, guarded where forwarded", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":8080", forward), []string{direct}, []string{sitePort},
		[]string{`clients reach 10.72.0.2:80 by the rule "tcp dport 8080 dnat to 10.72.0.2:80" of chain "ip nat pre" (handle 2), but strangers that use this host as a router reach it directly`}},
	{"the container's port is named, where forwarded", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":80", forward), []string{sitePort}, nil,
		[]string{`redirects port 8080 of this host to 10.72.0.2:80: if the service is meant to hide that program, strangers get in there without a knock, because the guard checks the port that packets had before translation, and guards port 80: name the port that clients connect to, listen = ":8080"`}},
	{"the container's port is named, at input", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":80", input), []string{sitePort}, nil,
		[]string{`listen = ":8080"`}},
	{"redirect, the first port is named", nat("ip", "tcp dport 8080 redirect to :8081"), guard(":8080", input), []string{sitePort}, nil,
		[]string{`the rule "tcp dport 8080 redirect to :8081" of chain "ip nat pre" (handle 2) redirects its port past the guard, to port 8081 of this host`}},
	{"redirect, the last port is named", nat("ip", "tcp dport 8080 redirect to :8081"), guard(":8081", input), nil, []string{sitePort, "tcp 10.71.0.1:8081"}, nil},
	{"redirect, guarded where forwarded", nat("ip", "tcp dport 8080 redirect to :8081"), guard(":8080", forward), []string{"tcp 10.71.0.1:8081"}, []string{sitePort},
		[]string{`strangers reach it directly, without a knock: let a chain at hook input drop "tcp dport 8081 ct status ! dnat", or guard that port too`}},
	{"redirect, both ports are guarded", nat("ip", "tcp dport 8080 redirect to :8081"), guard(":8080", input) + strings.Replace(guard(":8081", input), "site", "other", 1), nil, []string{sitePort, "tcp 10.71.0.1:8081"}, nil},
	{"redirect of IPv6", nat("ip6", "tcp dport 8080 redirect to :8081"), guard(":8080", input), []string{site6}, []string{sitePort},
		[]string{`of chain "ip6 nat pre" (handle 2) redirects its port past the guard, to port 8081 of this host`}},
	{"dnat of IPv6", nat("inet", "meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd72::2]:80"), guard(":8080", input), []string{site6}, []string{sitePort},
		[]string{`"tcp dport 8080 dnat to [fd72::2]:80" of chain "inet nat pre" (handle 2) redirects its port past the guard, to [fd72::2]:80`}},
	{"dnat of an address, which is named", nat("ip", "ip daddr 10.71.0.1 tcp dport 8080 dnat to 10.72.0.2:80"), guard("10.71.0.1:8080", input), []string{sitePort}, nil,
		[]string{`the rule "ip daddr 10.71.0.1 tcp dport 8080 dnat to 10.72.0.2:80" of chain`}},
	{"dnat of an address, and all are named", nat("ip", "ip daddr 10.71.0.1 tcp dport 8080 dnat to 10.72.0.2:80"), guard(":8080", input), []string{sitePort}, []string{"tcp 10.72.0.1:8080"},
		[]string{`past the guard, to 10.72.0.2:80`}},
	{"dnat of another address", nat("ip", "ip daddr 10.71.0.9 tcp dport 8080 dnat to 10.72.0.2:80"), guard("10.71.0.1:8080", input), nil, []string{sitePort}, nil},
	{"dnat of UDP", nat("ip", "udp dport 5353 dnat to 10.72.0.2:53"), guard(":5353", udp, input), []string{"udp 10.71.0.1:5353"}, nil,
		[]string{`the rule "udp dport 5353 dnat to 10.72.0.2:53" of chain`}},
	{"a proxy that is never asked", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), proxy(":8080", `look = "filtered"`), []string{sitePort}, nil,
		[]string{`redirects its port to 10.72.0.2:80: strangers get in there without a knock, and clients do not reach the service`}},
	{"a tproxy, guarded", "add table ip m\nadd chain ip m pre { type filter hook prerouting priority mangle; }\nadd rule ip m pre tcp dport 8080 tproxy to :8081 accept", guard(":8080", input), nil, []string{sitePort}, nil},
	{"a tproxy, not guarded", "add table ip m\nadd chain ip m pre { type filter hook prerouting priority mangle; }\nadd rule ip m pre tcp dport 8080 tproxy to :8081 accept", proxy(":8080"), nil, nil,
		[]string{`the rule "tcp dport 8080 tproxy to :8081" of chain "ip m pre" (handle 2) redirects its port to port 8081 of this host`}},

	{"a map of ports", nat("ip", "dnat to tcp dport map { 8080 : 10.72.0.2, 9 : 10.72.0.9 }"), guard(":8080", input), nil, nil,
		[]string{`"tcp dport map { … } dnat to 10.72.0.2" of chain "ip nat pre" (handle 3) redirects its port past the guard, to 10.72.0.2:8080`}},
	{"a map of ports to addresses with ports", nat("ip", "dnat ip to tcp dport map { 8080 : 10.72.0.2 . 80 }"), guard(":8080", input), []string{sitePort}, nil,
		[]string{`past the guard, to 10.72.0.2:80`}},
	{"a map of addresses with ports", nat("ip", "dnat ip to ip daddr . tcp dport map { 10.71.0.1 . 8080 : 10.72.0.2 . 80 }"), guard(":8080", input), []string{sitePort}, nil,
		[]string{`"ip daddr . tcp dport map { … } dnat to 10.72.0.2:80"`}},
	{"a map whose port is named", nat("ip", "dnat ip to tcp dport map { 8080 : 10.72.0.2 . 80 }"), guard(":80", input), []string{sitePort}, nil,
		[]string{`listen = ":8080"`}},
	{"a vmap to a chain", "add table ip nat\nadd chain ip nat web\nadd rule ip nat web meta l4proto tcp dnat to 10.72.0.2:80\n" + nat("ip", "tcp dport vmap { 1-99 : accept, 8000-8100 : jump web }"), guard(":8080", input), []string{sitePort}, nil,
		[]string{`the rule "tcp dnat to 10.72.0.2:80" of chain "ip nat web"`}},
	{"a set of ports and networks", "add table ip nat\nadd set ip nat ours { type ipv4_addr . inet_service; flags interval; elements = { 10.71.0.0/24 . 8000-8100 }; }\n" + nat("ip", "ip daddr . tcp dport @ours dnat to 10.72.0.2:80"), guard(":8080", input), []string{sitePort}, nil,
		[]string{`"ip daddr . tcp dport @ours dnat to 10.72.0.2:80"`}},
	{"a set of other ports", nat("ip", "tcp dport { 80, 8000-8079, 8081 } dnat to 10.72.0.2:80", "tcp dport != 8080 dnat to 10.72.0.2:80"), guard(":8080", input), nil, []string{sitePort}, nil},
	{"jumps, and local addresses only", "add table ip nat\nadd chain ip nat docker\nadd rule ip nat docker iifname \"docker0\" return\nadd rule ip nat docker iifname != \"docker0\" tcp dport 8080 dnat to 10.72.0.2:80\n" + nat("ip", "fib daddr type local jump docker"), guard(":8080", input), []string{sitePort}, nil,
		[]string{`the rule "iifname != "docker0" tcp dport 8080 dnat to 10.72.0.2:80" of chain "ip nat docker" (handle 3) redirects`}},
	{"only what comes by the loopback", nat("ip", "iif lo tcp dport 8080 dnat to 10.72.0.2:80"), guard(":8080", input), nil, []string{sitePort}, nil},
	{"accepted before", nat("ip", "tcp dport 8080 accept", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":8080", input), nil, []string{sitePort}, nil},
	{"led, and dropped on the way", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80") + "add table inet f\nadd chain inet f forward { type filter hook forward priority 0; policy drop; }\nadd rule inet f forward tcp dport 22 accept", guard(":8080", input), nil, nil, nil},
	{"led, and what asks directly is rejected", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80") + rejectsDirect, guard(":8080", forward), nil, []string{sitePort, direct}, nil},
	{"led, and what asks directly is rejected for all but some", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80") +
		strings.Replace(rejectsDirect, "add rule inet f forward", "add rule inet f forward ip saddr 10.71.0.0/24 return\nadd rule inet f forward", 1), guard(":8080", forward), []string{direct}, []string{sitePort},
		[]string{"strangers that use this host as a router reach it directly"}},
	{"the container is guarded by its address", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard("10.72.0.2:80", forward), nil, []string{sitePort, direct}, nil},
	{"the port and the container are guarded", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":8080", forward) + strings.Replace(guard("10.72.0.2:80", forward), "site", "other", 1), nil, []string{sitePort, direct}, nil},
	{"rewritten", "add table ip m\nadd chain ip m pre { type filter hook prerouting priority raw; }\nadd rule ip m pre tcp dport 8080 tcp dport set 8081", guard(":8080", input), nil, nil,
		[]string{`"tcp dport 8080 rewritten to :8081" of chain "ip m pre" (handle 2) redirects its port to port 8081 of this host, before the guard sees the packet`}},

	{"rewritten as it is received", "add table netdev n\nadd chain netdev n in { type filter hook ingress device \"out\" priority 0; }\nadd rule netdev n in tcp dport 8080 tcp dport set 8081", guard(":8080", forward), nil, nil,
		[]string{`"tcp dport 8080 rewritten to :8081" of chain "netdev n in" (handle 2) redirects its port to port 8081 of this host, before the guard sees the packet`}},
	{"handed to another interface", "add table netdev n\nadd chain netdev n in { type filter hook ingress device \"out\" priority 0; }\nadd rule netdev n in tcp dport 8080 fwd to \"in\"", guard(":8080", input), nil, nil,
		[]string{`"tcp dport 8080 fwd to ?" of chain "netdev n in" (handle 2) redirects its port to an unknown address, before the guard sees the packet`}},
	// The same, with the guard before translation.
	{"dnat, guarded", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":8080"), []string{direct}, []string{sitePort},
		[]string{`clients reach 10.72.0.2:80 by the rule "tcp dport 8080 dnat to 10.72.0.2:80" of chain "ip nat pre" (handle 2), but strangers that use this host as a router reach it directly`}},
	{"dnat to a range", nat("ip", "tcp dport 8080-8081 dnat to 10.72.0.2:80-81"), guard(":8080-8081"), []string{direct}, []string{sitePort},
		[]string{`clients reach 10.72.0.2:80-81 by the rule "tcp dport 8080-8081 dnat to 10.72.0.2:80-81" of chain "ip nat pre" (handle 2), but strangers that use this host as a router reach it directly, without a knock: let a chain at hook forward drop "ip daddr 10.72.0.2 tcp dport 80-81 ct status ! dnat"`}},
	{"dnat to a range, whose ports are guarded too", nat("ip", "tcp dport 8080-8081 dnat to 10.72.0.2:80-81"), guard(":8080-8081") + strings.Replace(guard(":80-81"), "site", "other", 1), []string{direct}, []string{sitePort},
		[]string{`tcp dport 80-81 ct status ! dnat`}},
	{"redirect to a range of which one port is guarded", nat("ip", "tcp dport 8080 redirect to :8080-8082"), guard(":8080", input), nil, []string{sitePort},
		[]string{`redirects its port past the guard, to ports 8080-8082 of this host`}},
	{"dnat, guarded, and what asks directly is rejected", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80") + rejectsDirect, guard(":8080"), nil, []string{sitePort, direct}, nil},
	{"the container's port is named, guarded", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard(":80"), []string{sitePort}, nil,
		[]string{`listen = ":8080"`}},
	{"the container is named, guarded", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), guard("10.72.0.2:80"), nil, []string{sitePort, direct}, nil},
	{"redirect, guarded", nat("ip", "tcp dport 8080 redirect to :8081"), guard(":8080"), []string{"tcp 10.71.0.1:8081"}, []string{sitePort},
		[]string{`strangers reach it directly, without a knock: let a chain at hook input drop "tcp dport 8081 ct status ! dnat", or guard that port too`}},
	{"redirect, the last port is named, guarded", nat("ip", "tcp dport 8080 redirect to :8081"), guard(":8081"), nil, []string{sitePort, "tcp 10.71.0.1:8081"}, nil},
	{"redirect of IPv6, guarded", nat("ip6", "tcp dport 8080 redirect to :8081"), guard(":8080"), []string{"tcp [fd71::1]:8081"}, []string{sitePort, site6},
		[]string{`tcp dport 8081 ct status ! dnat`}},
	{"dnat of IPv6, guarded", nat("inet", "meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd72::2]:80"), guard(":8080"), []string{"tcp [fd72::2]:80"}, []string{sitePort, site6},
		[]string{`let a chain at hook forward drop "ip6 daddr fd72::2 tcp dport 80 ct status ! dnat"`}},
	{"dnat of an address, guarded", nat("ip", "ip daddr 10.71.0.1 tcp dport 8080 dnat to 10.72.0.2:80") + rejectsDirect, guard("10.71.0.1:8080"), nil, []string{sitePort, direct}, nil},
	{"dnat of UDP, guarded", nat("ip", "udp dport 5353 dnat to 10.72.0.2:53"), guard(":5353", udp), []string{"udp 10.72.0.2:53"}, []string{"udp 10.71.0.1:5353"},
		[]string{`let a chain at hook forward drop "ip daddr 10.72.0.2 udp dport 53 ct status ! dnat"`}},
	{"a tproxy, guarded before", "add table ip m\nadd chain ip m pre { type filter hook prerouting priority mangle; }\nadd rule ip m pre tcp dport 8080 tproxy to :8081 accept", guard(":8080"), nil, []string{sitePort}, nil},
	{"a proxy that is guarded, and never asked", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80") + rejectsDirect, "stealth = true\n" + proxy(":8080"), nil, []string{sitePort, direct},
		[]string{`clients that have knocked get there, and never reach the service`}},
	{"rewritten before the guard", "add table ip m\nadd chain ip m pre { type filter hook prerouting priority raw; }\nadd rule ip m pre tcp dport 8080 tcp dport set 8081", guard(":8080"), nil, nil,
		[]string{`before the guard sees the packet`}},
	{"rewritten after the guard", "add table ip m\nadd chain ip m pre { type filter hook prerouting priority mangle; }\nadd rule ip m pre tcp dport 8080 tcp dport set 8081", guard(":8080") + strings.Replace(guard(":8081"), "site", "other", 1), nil, []string{sitePort}, nil},

	{"all UDP is handed on, and nothing is guarded", nat("ip", "meta l4proto udp dnat to 10.72.0.2"), proxy("127.0.0.1:8080"), nil, nil,
		[]string{`the rule "udp dnat to 10.72.0.2" of chain "ip nat pre" (handle 2) redirects knocks to ports 1025 to 65535 to`}},
	{"all UDP is handed on, and knocks are not tracked", nat("ip", "meta l4proto udp dnat to 10.72.0.2"), guard(":8080", input), nil, []string{sitePort}, nil},
	{"all UDP is handed on, past stealth", nat("ip", "meta l4proto udp dnat to 10.72.0.2"), "stealth = true\n" + guard(":8080", input), nil, []string{sitePort},
		[]string{`redirects UDP ports 1025 to 65535 to 10.72.0.2, where stealth has no effect`}},
	{"a few UDP ports are handed on", nat("ip", "udp dport 5000-5010 dnat to 10.72.0.2"), proxy("127.0.0.1:8080"), nil, nil, nil},
	{"many UDP ports are handed on", nat("ip", "udp dport { 53, 30000-50000 } dnat to 10.72.0.2"), proxy("127.0.0.1:8080"), nil, nil,
		[]string{`redirects knocks to ports 30000 to 50000 to`}},
	{"clients get another source", "add table ip nat\nadd chain ip nat in { type nat hook input priority 100; }\nadd rule ip nat in udp dport 1025-65535 snat to 10.71.0.77", proxy("127.0.0.1:8080"), nil, nil,
		[]string{`the rule "udp dport 1025-65535 snat" of chain "ip nat in" (handle 2) changes the source address of knocks`}},
	{"a proxy that is guarded, but never asked", nat("ip", "tcp dport 8080 redirect to :8081"), proxy(":8080") + strings.Replace(guard(":8081", forward), "site", "other", 1), nil, []string{"tcp 10.71.0.1:8081"},
		[]string{`redirects its port to port 8081 of this host: clients that have knocked get there, and never reach the service`}},
	{"led, but the service is for this host alone", nat("ip", "tcp dport 8080 dnat to 10.72.0.2:80"), proxy("127.0.0.1:8080"), nil, nil, nil},
	{"masquerade of what leaves", "add table ip nat\nadd chain ip nat post { type nat hook postrouting priority 100; }\nadd rule ip nat post masquerade", proxy(":8080"), nil, nil, nil},
}

// TestWaysAroundByIptables: iptables keeps its own matches and targets.
func TestWaysAroundByIptables(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("iptables-nft"); err != nil {
		t.Skip("needs iptables-nft")
	}
	if !netns.Enter(t) {
		return
	}
	newWorld(t)
	// What Docker makes for -p 8080:80 and -p 5353:53/udp, and others.
	for _, line := range []string{
		"iptables-nft -t nat -N DOCKER",
		"iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
		"iptables-nft -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
		"iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
		"iptables-nft -t nat -A DOCKER -i docker0 -j RETURN",
		"iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
		"iptables-nft -t nat -A DOCKER ! -i docker0 -p udp -m udp --dport 5353 -j DNAT --to-destination 172.17.0.2:53",
		"iptables-nft -t nat -A PREROUTING -p tcp --dport 9000:9010 -m comment --comment x -j REDIRECT --to-ports 9100",
		"ip6tables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination [fd72::2]:80",
		"iptables-nft -t nat -A PREROUTING -p tcp -m multiport --dports 7000,7002,7005:7007 -j DNAT --to-destination 172.17.0.2",
	} {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	for _, row := range []struct {
		service string
		says    []string
	}{
		{guard(":8080", input), []string{
			`the rule "iifname != "docker0" tcp dport 8080 dnat to 172.17.0.2:80" of chain "ip nat DOCKER" (handle`,
			`dnat to [fd72::2]:80" of chain "ip6 nat PREROUTING"`}},
		{guard(":5353", input, udp), []string{`redirects its port past the guard, to 172.17.0.2:53`}},
		{guard(":9005", input), []string{`redirects its port past the guard, to port 9100 of this host`}},
		{guard(":7002", input), []string{`redirects its port past the guard, to 172.17.0.2:7002`}},
		{guard(":7006", input), []string{`redirects its port past the guard, to 172.17.0.2:7006`}},
		{guard(":9000-9010", input), []string{`redirects its port past the guard, to port 9100 of this host`}},
		{guard(":8999-9001", input), []string{`redirects its port past the guard, to port 9100 of this host`}},
		{guard(":7000-7001", input), []string{`redirects its port past the guard, to 172.17.0.2:7000`}},
		{guard(":7001", input), nil},
		{guard(":9011-9020", input), nil},
		{guard(":8081", input), nil},
	} {
		warnings, err := Around(configtest.Parse(t, "", row.service), config.Host{FilterTCP: true, FirstOpenPort: 1024})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range row.says {
			if i >= len(warnings) || !strings.Contains(warnings[i], want) {
				t.Errorf("%s: warning %d is not %q", row.service, i, want)
			}
		}
		if len(warnings) != len(row.says) {
			t.Errorf("%s: %d warnings, want %d", row.service, len(warnings), len(row.says))
		}
		if t.Failed() {
			t.Fatalf("%s", strings.Join(warnings, "\n"))
		}
	}
}
