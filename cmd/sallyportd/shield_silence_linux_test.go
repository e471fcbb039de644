package main

import (
	"fmt"
	"os"
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

// The kernel's IP layer answers two kinds of packets before it looks at their port, and
// so all ports alike: those with malformed IP options, and those of which it has the
// first fragment, and never the others.
const (
	malformedOptions = "IP options: malformed"
	firstFragment    = "first fragment"
	parameterProblem = 12 // types of ICMP
	timeExceeded     = 11
)

// stranger is the address of a host without a lease, which is on the clients' host.
const stranger = "192.0.2.60"

func testSilence(t *testing.T, where string, change func(*shieldWorld)) {
	// A fragment waits for a second, and the kernel sends ICMP errors without limits.
	for name, value := range map[string]string{"ipfrag_time": "1", "icmp_ratelimit": "0", "icmp_msgs_per_sec": "1000000", "icmp_msgs_burst": "1000000"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	w := newShieldWorld(t)
	w.edit(t, "sallyportd.toml", "[[service]]", "stealth = true\n[[service]]")
	change(w)
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on" interfaces=`+where, 1)
	granted := w.enter(t, "a client", v, w.guests[0]) // a stranger replays its knocks
	former := fmt.Sprintf("192.0.2.%d", w.next-1)
	now, _ := livePorts(t, w.guests[0])
	before := traffic(t, w.dir)
	p := prober{tap: newTap(t, w.there, "cli"), source: 40000, names: map[uint16]string{}}
	alike := map[string]bool{} // the answers that all ports give; the kernel loses some on a busy host
	for _, port := range []uint16{now[0], now[1], 1025, 8080, 65535} {
		p.probe(t, port, granted[0].packets, w.guests[1].attempt(t).packets)
		alike[fmt.Sprintf("ICMP type %d for %s to port %d", parameterProblem, malformedOptions, port)] = true
		alike[fmt.Sprintf("ICMP type %d for %s to port %d", timeExceeded, firstFragment, port)] = true
	}
	// The kernel gives up fragments that wait for others, after which it may answer.
	if fragmentsWait(t) == 0 {
		t.Error("no fragment waits")
	}
	netns.Until(t, "no fragment waits", func() bool { return fragmentsWait(t) == 0 })
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
	v.end(t, syscall.SIGTERM)
}

// fragmentsWait returns how many packets of this host wait for fragments.
func fragmentsWait(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/sockstat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "FRAG:" {
			if _, err := fmt.Sscan(fields[2], &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no line FRAG in\n%s", text)
	return 0
}
