package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
)

// TestShieldIsSilent: with stealth and the shield, a knock port answers no frame of a
// stranger, not even with an ICMP error, except as the kernel does for all ports.
func TestShieldIsSilent(t *testing.T) {
	t.Parallel()
	if netns.EnterPrivileged(t) {
		testSilence(t, "srv:native", func(*shieldWorld) {})
	}
}

// TestGenericShieldIsSilent is the same at a bridge, whose driver has no XDP.
func TestGenericShieldIsSilent(t *testing.T) {
	t.Parallel()
	if netns.EnterPrivileged(t) {
		testSilence(t, "br0:generic", func(w *shieldWorld) {
			w.bridged(t, "br0")
			w.edit(t, "sallyportd.toml", "[[service]]", "shield_interfaces = [\"br0\"]\n[[service]]")
		})
	}
}

// The kernel's IP layer answers four kinds of packets before it looks at their port, and
// so all ports alike: those with malformed IP options, with options of IPv6 that it must
// reject, with an authentication header, and those of which it has the first fragment, and
// never the others.
const (
	malformedOptions  = "IP options: malformed"
	rejectedOption    = "hop-by-hop options: one that the host must reject"
	firstFragment     = "first fragment"
	authentication    = "authentication header"
	parameterProblem  = 12 // types of ICMP
	timeExceeded      = 11
	unreachableType   = 3
	parameterProblem6 = 4 // a type of ICMPv6
)

// stranger is the address of a host without a lease, which is on the clients' host.
const stranger = "192.0.2.60"

func testSilence(t *testing.T, where string, change func(*shieldWorld)) {
	// A fragment waits for a second, and the kernel sends ICMP errors without limits.
	for name, value := range map[string]string{
		"ipv4/ipfrag_time": "1", "ipv4/icmp_ratelimit": "0", "ipv6/icmp/ratelimit": "0", "ipv4/icmp_msgs_per_sec": "1000000", "ipv4/icmp_msgs_burst": "1000000",
	} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	w := newShieldWorld(t)
	w.edit(t, "sallyportd.toml", "[[service]]", "stealth = true\n[[service]]")
	change(w)
	name, _, _ := strings.Cut(where, ":")
	addTo(t, name, shieldHost6.String()+"/64")
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on" interfaces=`+where, 1)
	granted := w.enter(t, "a client", v, w.guests[0]) // a stranger replays its knocks
	former := fmt.Sprintf("192.0.2.%d", w.next-1)
	now, _ := livePorts(t, w.guests[0])
	before := traffic(t, w.dir)
	p := prober{tap: newTap(t, w.there, "cli"), source: 40000, names: map[uint16]string{}}
	alike := map[string]bool{} // the answers that all ports give; the kernel loses some on a busy host
	ports := []uint16{now[0], now[1], 1025, 8080, 65535}
	for _, port := range ports {
		p.probe(t, port, granted[0].packets, w.guests[1].attempt(t).packets)
		alike[fmt.Sprintf("ICMP type %d for %s to port %d", parameterProblem, malformedOptions, port)] = true
		alike[fmt.Sprintf("ICMP type %d for %s to port %d", unreachableType, authentication, port)] = true
		alike[fmt.Sprintf("ICMP type %d for %s to port %d", timeExceeded, firstFragment, port)] = true
		alike[fmt.Sprintf("ICMPv6 type %d for over IPv6: %s to port %d", parameterProblem6, rejectedOption, port)] = true
		alike[fmt.Sprintf("ICMPv6 type %d for over IPv6: %s to port %d", parameterProblem6, authentication, port)] = true
	}
	p.probe6(t, name, ports, granted[0].packets, w.guests[1].attempt(t).packets)
	// The kernel gives up a first and a last fragment for each port, and may answer then.
	netns.Until(t, "the kernel gives up all fragments", func() bool { return fragmentsGivenUp(t) == uint64(2*len(ports)) })
	after := traffic(t, w.dir)
	for _, rule := range []string{"size", "magic", "malformed", "maximum", "sequence", "identifier", "ring", "socket"} {
		if after["shield_"+rule] == before["shield_"+rule] {
			t.Errorf("no frame was for the rule %q: %v", rule, after)
		}
	}
	if v.has(stranger) {
		t.Errorf("a stranger got in\n%s", v.log())
	}
	// The client's connection is answered: the capture sees what the server sends.
	last := fmt.Sprintf("192.0.2.%d", w.next)
	w.enter(t, "a client after the probes", v, w.guests[0])
	connected := false
	for _, f := range p.tap.received(t) {
		switch {
		case toAddress(f, last):
			connected = true
		case !toAddress(f, former) && !alike[p.answer(f)]:
			t.Errorf("an answer: %s", p.answer(f))
		}
	}
	if !connected {
		t.Error("the capture does not see what the server sends")
	}
	p.answeredAlike(t, ports, name != shieldLink)
	v.end(t, syscall.SIGTERM)
}

// fragmentsGivenUp returns of how many packets of this host fragments never came.
func fragmentsGivenUp(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n") // the names and the values of "Ip:" are the first two
	at := slices.Index(strings.Fields(lines[0]), "ReasmTimeout")
	if at < 0 {
		t.Fatalf("no counter ReasmTimeout in\n%s", text)
	}
	n, err := strconv.ParseUint(strings.Fields(lines[1])[at], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
