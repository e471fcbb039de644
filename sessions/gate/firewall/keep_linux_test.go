package firewall

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// keep runs Keep. It sends the repairs to the channel; stop ends Keep, and
// returns its error.
func (w *network) keep(f *Table) (repairs chan Repair, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	repairs, ended := make(chan Repair, 1000), make(chan error, 1)
	go func() { ended <- f.Keep(ctx, func(r Repair) { repairs <- r }) }()
	netns.Until(w, "Keep hears", func() bool {
		f.pending.mu.Lock()
		defer f.pending.mu.Unlock()
		return f.pending.watched
	})
	stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	w.Cleanup(func() { stop() })
	return repairs, stop
}

// repaired waits for a repair, and returns it.
func (w *network) repaired(repairs chan Repair) Repair {
	w.Helper()
	var r Repair
	netns.Until(w, "a repair", func() bool {
		select {
		case r = <-repairs:
			return true
		default:
			return false
		}
	})
	if r.Err != nil {
		w.Errorf("%+v", r)
	}
	return r
}

// TestKeep: after each change by another program the table is restored, with
// exactly the grants, and Keep reports the fault.
func TestKeep(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}, {Protocol: UDP, Port: 2001}}, Stealth: true, Except: []uint16{5353}})
	w.must(f.do(change(0, client4, time.Hour), change(0, client6, time.Hour)))
	w.must(f.OpenKnockPorts([]uint16{3000}, time.Hour))
	saved := string(w.run(nil, "list", "ruleset"))
	w.must(f.revoke(0, client6))
	repairs, stop := w.keep(f)
	const ours = "inet " + Name
	for _, row := range []struct {
		script string
		fault  Fault
	}{
		{"flush ruleset", Removed},
		{"delete table " + ours, Removed},
		{"flush ruleset\n" + saved, Replaced},
		{"delete table " + ours + "\n" + saved, Replaced},
		{"delete table " + ours + "\nadd table " + ours, Replaced},
		{saved, Changed}, // over what is there: all of it twice
		{"flush table " + ours, Replaced},
		{"flush chain " + ours + " input", Changed},
		{"flush chain " + ours + " tcp_2000", Changed},
		{"insert rule " + ours + " guard accept", Changed},
		{"add rule " + ours + " tcp_2000 accept", Changed},
		{"insert rule " + ours + " tcp_2000 tcp dport 2000 counter accept", Changed},
		{"add chain " + ours + " early { type filter hook prerouting priority -300; policy drop; }", Changed},
		{"add chain " + ours + " input { policy drop; }", Changed},
		{"add table " + ours + " { flags dormant; }", Changed},
		{"add set " + ours + " more { type ipv4_addr; }", Changed},
		{"add counter " + ours + " c", Changed},
		{"add map " + ours + " m { type ipv4_addr : verdict; }", Changed},
		{"add map " + ours + " m { type inet_service : verdict; elements = { 22 : jump tcp_2000 }; }\ninsert rule " + ours + " tcp_2000 accept", Changed},
		{"insert rule " + ours + " tcp_2000 jump { accept; }", Changed},
		{"insert rule " + ours + " guard tcp dport vmap { 1-99 : drop, 100-5000 : accept }", Changed},
		{"add element " + ours + " except { 2222 }", Changed},
		{"delete element " + ours + " except { 5353 }", Changed},
		{"add element " + ours + " tcp_2000_granted4 { 198.51.100.3 timeout 1h }", Elements},
		{"add element " + ours + " tcp_2000_granted4 { 198.51.100.3 }", Elements},
		{"add element " + ours + " tcp_2000_anyone { ipv4 timeout 1d }", Elements},
		{"delete element " + ours + " tcp_2000_granted4 { 198.51.100.2 }\nadd element " + ours + " tcp_2000_granted4 { 198.51.100.2 timeout 2h }", Elements},
		{"flush set " + ours + " tcp_2000_granted4", Elements},
		{"flush set " + ours + " knock", Elements},
		{"delete element " + ours + " knock { 3000 }", Elements},
		{"add element " + ours + " knock { 3001 timeout 1h }", Elements},
	} {
		w.nft(row.script)
		if r := w.repaired(repairs); r.Fault != row.fault {
			t.Errorf("%s: repaired %+v, want %s", row.script, r, row.fault)
		}
		// A script can be several transactions of nft; each is repaired.
		netns.Until(w, "quiet", func() bool {
			r, err := f.Restore()
			w.must(err)
			return r.Fault == ""
		})
		for len(repairs) > 0 {
			<-repairs
		}
		f.mu.Lock()
		same, err := f.elementsIntact()
		f.mu.Unlock()
		if err != nil || !same {
			t.Errorf("%s: elements are missing, or there are more: %v", row.script, err)
		}
		if found, err := Inspect(); err != nil || !found.Intact || found.Owner != tester {
			t.Errorf("%s: afterwards %+v, %v", row.script, found, err)
		}
		if !w.open(client4, 2000) || w.open(client6, 2000) || w.open(stranger4, 2000) {
			t.Errorf("%s: client %v, ended %v, stranger %v", row.script, w.open(client4, 2000), w.open(client6, 2000), w.open(stranger4, 2000))
		}
	}

	// Our own changes are no fault, nor are those to other tables.
	for range 200 {
		w.must(f.grant(0, stranger4, time.Hour))
		w.must(f.revoke(0, stranger4))
	}
	w.must(f.grant(0, stranger4, MinTime)) // ends by itself
	w.nft("add table inet other\nadd chain inet other c\nadd table ip " + Name + "\nadd chain ip " + Name + " input")
	w.must(f.Close())
	time.Sleep(2 * MinTime)
	w.nft("flush chain " + ours + " tcp_2000") // a fault at the end, to wait for
	if r := w.repaired(repairs); r.Fault != Changed {
		t.Errorf("a repair of what was none: %+v", r)
	}
	w.must(stop())
}

// TestKeepLoses: a table that another process claims belongs to it from then
// on. A loaded copy of the table is no claim.
func TestKeepLoses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	ports := []Port{{Protocol: TCP, Port: 2000}}
	other := Owner{Config: "/etc/sallyport/other.toml"}
	w.must(claimFor(other, nil, true))
	copied := string(w.run(nil, "list", "ruleset"))
	otherOwner := (*OwnedError)(nil)
	err := claimFor(tester, ports, false)
	if !errors.As(err, &otherOwner) || otherOwner.Owner != other || !strings.Contains(err.Error(), other.Config) {
		t.Fatalf("another's table: %v", err)
	}
	f, err := Claim(withServices(Config{Ports: ports}), tester, true, now)
	w.must(err)
	repairs, stop := w.keep(f)
	w.nft("flush ruleset\n" + copied)
	if r := w.repaired(repairs); r.Fault != Replaced {
		t.Errorf("a copy of another's table: %+v", r)
	}
	w.echo(2000)
	if w.open(stranger4, 2000) {
		t.Error("a copy of another's table stays")
	}
	for _, owner := range []Owner{other, tester} {
		w.must(claimFor(owner, ports, true))
		netns.Until(w, "Keep has lost the table", func() bool {
			return errors.As(f.grant(0, client4, time.Hour), &otherOwner)
		})
		if err := stop(); !errors.As(err, &otherOwner) || otherOwner.Owner != owner {
			t.Errorf("Keep ends with %v", err)
		}
		if err := f.Close(); !errors.As(err, &otherOwner) {
			t.Errorf("Close says %v of another's table", err)
		}
		if found, err := Inspect(); err != nil || found.Owner != owner || !found.Intact {
			t.Errorf("%+v, %v", found, err)
		}
		// The next process of the same configuration takes over, and loses the
		// table too.
		f, err = Claim(withServices(Config{Ports: ports}), tester, true, now)
		w.must(err)
		_, stop = w.keep(f)
	}
}

// TestReadsOneMoment: a table that others replace at the same time is read as it was before
// or after that.
func TestReadsOneMoment(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	states := map[string]string{} // the digest of each state, and how to make it
	var loads []string
	for _, ports := range [][]Port{{{Protocol: TCP, Port: 2000}}, {{Protocol: TCP, Port: 2000}, {Protocol: TCP, Port: 2001}}} {
		w.must(claimFor(tester, ports, true))
		load := "flush ruleset\n" + string(w.run(nil, "list", "ruleset"))
		w.nft(load)
		c, err := read()
		w.must(err)
		states[c.digest()] = load
		loads = append(loads, load)
	}
	if len(states) != 2 {
		t.Fatal("both states are equal")
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	defer func() { close(stop); <-stopped }()
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				if err := w.try(loads[i%2]); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	seen := map[string]int{}
	for i := 0; i < 400 || len(seen) < 2; i++ {
		c, err := read()
		w.must(err)
		if seen[c.digest()]++; states[c.digest()] == "" {
			t.Fatalf("read %d is none of both states: %d chains, %d rules, %d sets", i, len(c.chains), len(c.rules), len(c.sets))
		}
	}
}

func claimFor(owner Owner, ports []Port, force bool) error {
	_, err := Claim(withServices(Config{Ports: ports}), owner, force, now)
	return err
}

// TestKeepOverflow: the kernel has more events than the buffer has room for,
// all of them ours. Some may be lost: Keep must read the table.
func TestKeepOverflow(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}})
	a := netip.MustParseAddr("10.0.0.0")
	hear := func(overflow bool) bool {
		f.pending.watch(true)
		events, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
		w.must(err)
		if overflow {
			w.must(events.SetReadBuffer(4096))
		}
		for range 50 {
			a = a.Next()
			w.must(f.grant(0, a, time.Hour))
		}
		ctx, cancel := context.WithCancel(context.Background())
		changed, ended := make(chan struct{}, 1), make(chan error)
		go func() { ended <- f.receiveEvents(ctx, events, changed) }()
		if overflow {
			<-changed
		} else {
			// All events of our transactions have been received.
			netns.Until(w, "the end", func() bool {
				f.pending.mu.Lock()
				defer f.pending.mu.Unlock()
				return len(f.pending.expected) == 0
			})
		}
		cancel()
		w.must(events.Close())
		w.must(<-ended)
		return len(changed) > 0
	}
	if hear(true); hear(false) {
		t.Error("what is ours is a reason to look")
	}
}
