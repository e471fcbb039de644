package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
)

// TestShieldPassesTheOperatorsRules: a rule of nftables that drops a source does not hold
// for knocks that the shield takes, and a capture does not see them. With shield_mirror
// both do what they do without the shield.
func TestShieldPassesTheOperatorsRules(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	nft(t, `table ip operator {
		chain in { type filter hook input priority filter; ip saddr 192.0.2.32-192.0.2.59 udp dport 1025-65535 counter drop; }
	}`)
	const barred, other = 32, 2 // the next addresses, as the last bytes
	next := map[int]int{barred: barred, other: other}
	as := func(of int, f func()) {
		w.next = next[of]
		f()
		next[of] = w.next
	}
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on"`, 1)
	capture := newTap(t, nil, shieldLink)
	ports, _ := livePorts(t, w.guests[0])
	seen := func() int {
		got := udp(capture.received(t))
		return got[ports[0]] + got[ports[1]]
	}
	as(barred, func() { w.byShield(t, "from an address that a rule drops", v, w.guests[0], shieldHost) })
	if n, dropped := seen(), ruleCount(t); n+dropped != 0 {
		t.Errorf("with the shield, the capture saw %d datagrams, and the rule dropped %d, want none", n, dropped)
	}

	w.edit(t, "sallyportd.toml", "[[service]]", "shield_mirror = true\n[[service]]")
	w.run(t, "reload")
	before := traffic(t, w.dir)
	from := fmt.Sprintf("192.0.2.%d", next[barred])
	next[barred]++
	a := w.guests[1].attempt(t)
	if a.packets[0].Port != ports[0] {
		ports, _ = livePorts(t, w.guests[1]) // the minute has turned
	}
	w.send(t, from, shieldHost, a.packets)
	netns.Until(t, "the rule drops the knocks", func() bool { return ruleCount(t) == len(a.packets) }, v.log)
	if n := seen(); n != len(a.packets) {
		t.Errorf("with shield_mirror, the capture saw %d datagrams, want %d", n, len(a.packets))
	}
	as(other, func() { w.bySockets(t, "with shield_mirror", v, w.dir, w.guests[1]) })
	if v.has(from) || ruleCount(t) != len(a.packets) {
		t.Errorf("with shield_mirror, the rule dropped %d datagrams; the service opened for %s: %t\n%s", ruleCount(t), from, v.has(from), v.log())
	}
	if after := traffic(t, w.dir); after["received"]-before["received"] < 2 {
		t.Errorf("no knock came to the sockets: %v", after)
	}

	w.edit(t, "sallyportd.toml", "shield_mirror = true", "shield_mirror = false")
	w.run(t, "reload")
	as(barred, func() { w.byShield(t, "from such an address again", v, w.guests[0], shieldHost) })
	v.end(t, syscall.SIGTERM)
}

func nft(t *testing.T, rules string) {
	t.Helper()
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// ruleCount returns how many packets the operator's rule has dropped.
func ruleCount(t *testing.T) (n int) {
	t.Helper()
	out, err := exec.Command("nft", "list", "chain", "ip", "operator", "in").CombinedOutput()
	_, rest, ok := strings.Cut(string(out), "counter packets ")
	if err == nil && ok {
		_, err = fmt.Sscan(rest, &n)
	}
	if err != nil || !ok {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return n
}
