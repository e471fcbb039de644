package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/fleet/etcdtest"
)

// fleetFault is a failure that begins and ends.
type fleetFault struct {
	name string
	// begin returns how it ends, and the gateways that reach no majority meanwhile, or
	// that no client reaches.
	begin func(t *testing.T, w *fleetWorld) (end func(*testing.T), without []*fleetGateway)
}

// fleetFaults are the failures of the network, and of processes.
var fleetFaults = []fleetFault{
	{"a member killed", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		m := (w.etcd.Leader(t) + 1) % fleetMembers
		return w.killMember(m), nil
	}},
	{"the leader killed", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		return w.killMember(w.etcd.Leader(t)), nil
	}},
	{"two members killed", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		w.etcd.Kill(0, 1)
		return func(t *testing.T) { w.etcd.Restart(t, 0, 1); w.etcd.Ready(t) }, w.gateways
	}},
	{"the leader isolated from the members", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		return w.cutMember(w.etcd.Leader(t)), nil
	}},
	{"all members apart", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		paths := []*etcdtest.Path{w.etcd.Between(0, 1), w.etcd.Between(1, 2), w.etcd.Between(0, 2)}
		for _, p := range paths {
			p.Cut()
		}
		return func(t *testing.T) { healAll(paths); w.etcd.Ready(t) }, w.gateways
	}},
	{"one direction between members lost", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		l := w.etcd.Leader(t)
		other := (l + 1) % fleetMembers
		p := w.etcd.Between(l, other)
		p.Hold(l < other, l > other) // what the leader sends
		return func(t *testing.T) { p.Heal(); w.etcd.Ready(t) }, nil
	}},
	{"a member that stalls, as with a slow disk", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		return w.stallMember(w.etcd.Leader(t)), nil
	}},
	{"slow paths to the members", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g := w.anyGateway()
		g.way.Each(func(p *etcdtest.Path) { p.Delay(100 * time.Millisecond) })
		return func(*testing.T) { g.way.Each((*etcdtest.Path).Heal) }, nil
	}},
	{"a gateway without one member", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g := w.anyGateway()
		g.dropRequests(t, w.chance.IntN(fleetMembers))
		return g.heal, nil
	}},
	{"a gateway without two members", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g, only := w.anyGateway(), w.chance.IntN(fleetMembers)
		g.dropAnswers(t, (only+1)%fleetMembers, (only+2)%fleetMembers)
		return g.heal, nil
	}},
	{"a gateway without members", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g := w.anyGateway()
		g.dropRequests(t, 0, 1, 2)
		return g.heal, []*fleetGateway{g}
	}},
	{"a gateway without answers of members", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g := w.anyGateway()
		g.dropAnswers(t, 0, 1, 2)
		return g.heal, []*fleetGateway{g}
	}},
	{"a gateway without clients", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g := w.anyGateway()
		g.dropClients(t)
		return g.heal, []*fleetGateway{g}
	}},
	{"a gateway killed", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g := w.anyGateway()
		w.crowd(t)
		g.kill()
		return g.start, []*fleetGateway{g}
	}},
	{"a clock ahead", func(_ *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		return w.skew(20 * time.Second), nil
	}},
	{"a clock behind", func(_ *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		return w.skew(-20 * time.Second), nil
	}},
	{"compaction, with a gateway cut off", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		g := w.anyGateway()
		g.dropRequests(t, 0, 1, 2)
		return func(t *testing.T) { w.etcd.Compact(t); g.heal(t) }, []*fleetGateway{g}
	}},
	{"all gateways and members killed", func(t *testing.T, w *fleetWorld) (func(*testing.T), []*fleetGateway) {
		for _, g := range w.gateways {
			g.kill()
		}
		w.etcd.Kill()
		return func(t *testing.T) {
			w.etcd.Restart(t)
			w.etcd.Ready(t)
			for _, g := range w.gateways {
				g.start(t)
			}
		}, w.gateways
	}},
}

func healAll(paths []*etcdtest.Path) {
	for _, p := range paths {
		p.Heal()
	}
}

func (w *fleetWorld) anyGateway() *fleetGateway { return w.gateways[w.chance.IntN(len(w.gateways))] }

func (w *fleetWorld) killMember(m int) (end func(*testing.T)) {
	w.etcd.Kill(m)
	return func(t *testing.T) { w.etcd.Restart(t, m); w.etcd.Ready(t) }
}

func (w *fleetWorld) cutMember(m int) (end func(*testing.T)) {
	var paths []*etcdtest.Path
	for other := range fleetMembers {
		if other != m {
			p := w.etcd.Between(m, other)
			p.Cut()
			paths = append(paths, p)
		}
	}
	return func(t *testing.T) { healAll(paths); w.etcd.Ready(t) }
}

// stallMember stops a member for 200 ms, again and again.
func (w *fleetWorld) stallMember(m int) (end func(*testing.T)) {
	over, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			w.etcd.Stop(m)
			time.Sleep(200 * time.Millisecond)
			w.etcd.Continue(m)
			select {
			case <-over:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func(t *testing.T) { close(over); <-done; w.etcd.Ready(t) }
}

func (w *fleetWorld) skew(d time.Duration) (end func(*testing.T)) {
	g := w.anyGateway()
	g.clock.step(d)
	return func(*testing.T) { g.clock.step(-d) }
}

// suffer makes a fault happen while clients knock and the attacker replays: clients get
// in at each gateway that reaches a majority, at no other, and everywhere after its end.
func (w *fleetWorld) suffer(t *testing.T, f fleetFault) {
	t.Helper()
	w.crowd(t)
	end, without := f.begin(t, w)
	begun := len(w.sent)
	w.crowd(t)
	var in []*fleetGateway
	for _, g := range w.gateways {
		if !slices.Contains(without, g) {
			in = append(in, g)
		}
	}
	if len(in) > 0 {
		w.getInEverywhere(t, in[w.chance.IntN(len(in))], in)
		w.crowd(t)
		w.replay(t)
	}
	for _, a := range w.sent[begun:] {
		for _, g := range without {
			if g.opened("local", a.from())+g.opened("local", a.attacker()) > 0 {
				t.Errorf("attempt %d has opened at gateway %d, which reaches no majority or no client\n%s", a.number, g.number, w.logs())
			}
		}
	}
	end(t)
	w.replay(t)
	for _, g := range w.gateways {
		if slices.Contains(without, g) {
			w.getIn(t, g)
		}
	}
	w.getInEverywhere(t, w.anyGateway(), w.gateways)
	w.replay(t)
	w.judgeNow(t)
}

// killBetween kills a gateway when the record of an attempt is in etcd, and the gateway
// does not know: nothing opens with it anywhere.
func (w *fleetWorld) killBetween(t *testing.T) {
	g, one := w.anyGateway(), w.anyGuest()
	w.getIn(t, g)
	g.way.Each(func(p *etcdtest.Path) { p.Hold(false, true) })
	var a *fleetAttempt
	looks := 0
	netns.Until(t, "the record is in etcd", func() bool {
		if looks%100 == 0 {
			a = w.knock(t, g, one)
		}
		looks++
		return nonceUsed(w.record(t, one), a.base)
	}, w.logs)
	g.kill()
	g.way.Each((*etcdtest.Path).Heal)
	w.replay(t)
	g.start(t)
	w.replay(t)
	w.getInEverywhere(t, g, w.gateways)
	for _, other := range w.gateways {
		if other.opened("local", a.from())+other.opened("local", a.attacker())+other.opened("shared", a.from())+other.opened("shared", a.attacker()) > 0 {
			t.Errorf("attempt %d was recorded by a gateway that was killed, and has opened at gateway %d\n%s", a.number, other.number, w.logs())
		}
	}
	w.judgeNow(t)
}

// stopLong stops a gateway until its leases are over: connections that wait for it get
// no answer when it continues.
func (w *fleetWorld) stopLong(t *testing.T) {
	g := w.anyGateway()
	a := w.getIn(t, g)
	pid := g.server.cmd.Process
	for !serves(a.from(), g, 8082, time.Second) {
		if g.opened("brief", a.from()) > 0 {
			a = w.getIn(t, g) // the lease was over before
		}
	}
	netns.Stop(t, pid.Pid)
	stopped := time.Now()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(a.from())}, Timeout: 3 * time.Second}
	time.Sleep(1200 * time.Millisecond)
	c, err := d.Dial("tcp4", g.address+":8082")
	w.crowd(t)
	pid.Signal(unix.SIGCONT)
	if err == nil {
		defer c.Close()
		if time.Since(stopped) > time.Second && answers(c, 5*time.Second) {
			t.Errorf("gateway %d answers a request that came after the lease\n%s", g.number, w.logs())
		}
	}
	w.replay(t)
	w.getInEverywhere(t, g, w.gateways)
	netns.Until(t, "the service is closed", func() bool { return !serves(a.from(), g, 8082, time.Second) }, w.logs)
	w.judgeNow(t)
}

// loseLeases revokes all leases of etcd, as an operator may: that closes the shared
// service where it was not knocked, and the next knock opens it again.
func (w *fleetWorld) loseLeases(t *testing.T) {
	g := w.anyGateway()
	a := w.getInEverywhere(t, g, w.gateways)
	root := w.etcd.Root()
	all, err := root.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all.Leases {
		root.Revoke(t.Context(), l.ID) // it may have ended
	}
	for _, other := range w.gateways {
		if other != g {
			netns.Until(t, "the shared service closes", func() bool { return !serves(a.from(), other, 8081, time.Second) }, w.logs)
		}
	}
	w.replay(t)
	w.getInEverywhere(t, g, w.gateways)
	netns.Until(t, "all gateways are in etcd again", func() bool {
		r, err := root.Get(t.Context(), "/sallyport/gateways/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && r.Count == int64(len(w.gateways))
	}, w.logs)
	w.judgeNow(t)
}

// revoke removes a client at the gateway that has granted its leases: the shared service
// closes everywhere. Then the client comes back.
func (w *fleetWorld) revoke(t *testing.T) {
	g := w.anyGateway()
	a := w.getInEverywhere(t, g, w.gateways)
	at := &shieldWorld{dir: g.dir}
	line := a.guest.name() + " secret-" + a.guest.name()
	at.edit(t, "clients.txt", line, "# "+line)
	at.run(t, "reload")
	for _, other := range w.gateways {
		netns.Until(t, fmt.Sprintf("the shared service of gateway %d closes for %s, granted at gateway %d", other.number, a.from(), g.number),
			func() bool { return !serves(a.from(), other, 8081, time.Second) }, w.logs)
	}
	at.edit(t, "clients.txt", "# "+line, line)
	at.run(t, "reload")
	w.replay(t)
	w.getInEverywhere(t, g, w.gateways)
	w.judgeNow(t)
}

// fillQuota writes to etcd until it raises the alarm NOSPACE. Knocks may open
// meanwhile, and do when the alarm is over.
func (w *fleetWorld) fillQuota(t *testing.T) {
	root, ctx := w.etcd.Root(), t.Context()
	large := strings.Repeat("x", 1<<20)
	netns.Until(t, "the quota is exceeded", func() bool {
		_, err := root.Put(ctx, "/filler", large)
		return err != nil && strings.Contains(err.Error(), "space exceeded")
	}, w.logs)
	for range 2 {
		w.crowd(t)
		w.replay(t)
	}
	w.etcd.Compact(t)
	for _, endpoint := range root.Endpoints() {
		if _, err := root.Defragment(ctx, endpoint); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Delete(ctx, "/filler"); err != nil {
		t.Fatal(err)
	}
	for _, g := range w.gateways {
		w.getInEverywhere(t, g, w.gateways)
	}
	w.replay(t)
	w.judgeNow(t)
}

// restore puts a backup back, without the record of the last attempts: none of them opens
// again, and clients get in when their time is over.
func (w *fleetWorld) restore(t *testing.T) {
	backup := w.etcd.Snapshot(t)
	for _, g := range w.gateways {
		w.getInEverywhere(t, g, w.gateways)
	}
	w.judgeNow(t)
	w.etcd.Restore(t, backup, true)
	os.Remove(backup)
	w.replay(t)
	for _, g := range w.gateways {
		netns.Until(t, fmt.Sprintf("gateway %d notices", g.number), func() bool {
			w.replay(t)
			return strings.Contains(g.log(), "nonce record of the fleet incomplete")
		}, w.logs)
	}
	for _, s := range append([]stepped{w.clock}, w.gateways[0].clock, w.gateways[1].clock, w.gateways[2].clock) {
		s.step(2 * time.Minute)
	}
	for _, g := range w.gateways {
		w.getInEverywhere(t, g, w.gateways)
	}
	w.replay(t)
	w.judgeNow(t)
}
