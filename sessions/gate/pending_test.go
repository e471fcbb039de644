package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// commandsOf is the commands of a service, whose results a test gives.
type commandsOf struct {
	changed func(error)
	refuse  error
	begun   []*commandOf // in the order of their beginning
}

// commandOf is the commands of one lease.
type commandOf struct {
	CommandLease
	done   func(error)
	result *error // of the opening command; nil: it runs
	ends   []EndReason
}

func (c *commandsOf) Watch(changed func(error)) { c.changed = changed }

func (c *commandsOf) Begin(l CommandLease, done func(error)) (CommandedLease, error) {
	if c.refuse != nil {
		return nil, c.refuse
	}
	of := &commandOf{CommandLease: l, done: done}
	c.begun = append(c.begun, of)
	return of, nil
}

func (c *commandOf) End(r EndReason) { c.ends = append(c.ends, r) }

// finish ends the opening command.
func (c *commandOf) finish(err error) {
	c.result = &err
	c.done(err)
}

// programOf is a program behind a service, which a test starts and ends.
type programOf struct {
	changed func(error)
	needed  bool
}

func (p *programOf) Watch(changed func(error)) { p.changed = changed }
func (p *programOf) Need(needed bool)          { p.needed = needed }
func (p *programOf) Run(ctx context.Context)   { <-ctx.Done() }

// commanded is a service with commands and a program, at a time that a test sets.
type commanded struct {
	*Service
	all      *Services
	now      time.Time
	enforcer *recorded
	commands *commandsOf
	program  *programOf
	opened   []Lease
}

func newCommanded(anyone bool) *commanded {
	c := &commanded{now: epoch, enforcer: &recorded{}, commands: &commandsOf{}, program: &programOf{}}
	now := func() time.Time { return c.now }
	c.Service = NewService(ServiceConfig{
		Name: "web", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: 10 * time.Second, Addresses: 2, Anyone: anyone, Cut: true},
		Enforcers: []access.Enforcer{c.enforcer}, Clock: clock.Clock{Wall: now, Monotonic: now, Boot: now}, Log: slog.New(slog.DiscardHandler),
		Commands: c.commands, Backend: c.program, Opened: func(l Lease) { c.opened = append(c.opened, l) },
	})
	c.all, _ = NewServices([]*Service{c.Service}, nil)
	return c
}

// TestPendingLease: it exists, and admits no peer until its opening command and the
// program are ready; a watcher hears of it only then.
func TestPendingLease(t *testing.T) {
	for _, anyone := range []bool{false, true} {
		c := newCommanded(anyone)
		if err := c.all.openOne(grant("com1", "192.0.2.1")); err != nil {
			t.Fatal(err)
		}
		if !c.program.needed {
			t.Error("the program does not start while the opening command runs")
		}
		c.program.changed(nil)
		list := c.all.Leases()
		if len(c.enforcer.open) != 0 || len(list) != 1 || list[0].Waits == "" || len(c.opened) != 0 {
			t.Errorf("pending: admits %v, list %+v", c.enforcer.open, list)
		}
		c.program.changed(errors.New("it has ended"))
		c.commands.begun[0].finish(nil)
		if len(c.enforcer.open) != 0 || len(c.opened) != 0 || len(c.all.Waiting()) != 1 {
			t.Errorf("without a program: admits %v, waiting %v", c.enforcer.open, c.all.Waiting())
		}
		c.program.changed(nil)
		if len(c.enforcer.open) == 0 || len(c.opened) != 1 || c.all.Leases()[0].Waits != "" || len(c.all.Waiting()) != 0 {
			t.Errorf("ready: admits %v, reported %v", c.enforcer.open, c.opened)
		}
		// When the program ends, no peer is admitted; the lease is not reported again.
		c.program.changed(errors.New("it has ended"))
		if len(c.enforcer.open) != 0 {
			t.Errorf("the program has ended: admits %v", c.enforcer.open)
		}
		c.program.changed(nil)
		if len(c.enforcer.open) == 0 || len(c.opened) != 1 {
			t.Errorf("ready again: admits %v, reported %v", c.enforcer.open, c.opened)
		}
		// An extension runs no command, and is reported.
		c.all.openOne(grant("com1", "192.0.2.1"))
		if len(c.commands.begun) != 1 || len(c.opened) != 2 {
			t.Errorf("extended: %d commands, reported %d", len(c.commands.begun), len(c.opened))
		}
		c.commands.changed(errors.New("no command can run"))
		if len(c.enforcer.open) != 0 {
			t.Errorf("without commands: admits %v", c.enforcer.open)
		}
	}
}

// TestOpeningCommandFails: nothing opens, and the lease is over.
func TestOpeningCommandFails(t *testing.T) {
	c := newCommanded(false)
	c.program.changed(nil)
	c.all.openOne(grant("com1", "192.0.2.1"))
	c.commands.begun[0].finish(errors.New("exit code 1"))
	c.sweep()
	if len(c.all.Leases()) != 0 || len(c.enforcer.open) != 0 || len(c.commands.begun[0].ends) != 0 || c.program.needed {
		t.Errorf("left: %v, %v, ends %v", c.all.Leases(), c.enforcer.open, c.commands.begun[0].ends)
	}
	// A command that cannot begin refuses the grant, and displaces nothing.
	c.all.openOne(grant("com1", "192.0.2.1"))
	c.all.openOne(grant("com1", "192.0.2.2"))
	c.commands.refuse = errors.New("too many")
	err := c.all.openOne(grant("com1", "192.0.2.3"))
	if !errors.Is(err, c.commands.refuse) || len(c.all.Leases()) != 2 {
		t.Errorf("refused: %v, leases %v", err, c.all.Leases())
	}
	// An enforcer that fails ends the lease, and so its commands.
	c.enforcer.fail = errors.New("no room")
	c.commands.begun[2].finish(nil)
	if ends := c.commands.begun[2].ends; len(ends) != 1 || ends[0] != openFailed || len(c.all.Leases()) != 1 {
		t.Errorf("the enforcer failed: ends %v, leases %v", ends, c.all.Leases())
	}
}

// TestGrantsWithoutProgram: while the program does not run, the log has a line for each
// grant, also for those that extend a lease which was in effect.
func TestGrantsWithoutProgram(t *testing.T) {
	c := newCommanded(false)
	log := new(strings.Builder)
	c.Service.log = slog.New(slog.NewTextHandler(log, nil))
	knock := func() {
		t.Helper()
		if err := c.all.openOne(grant("com1", "192.0.2.1")); err != nil {
			t.Fatal(err)
		}
	}
	c.program.changed(nil)
	knock()
	c.commands.begun[0].finish(nil)
	c.program.changed(errors.New("it can never start again"))
	knock()
	knock()
	if n := strings.Count(log.String(), "lease waits for the program"); n != 2 {
		t.Errorf("%d lines for two grants", n)
	}
	c.program.changed(nil)
	c.now = c.now.Add(time.Second)
	knock()
	if n := strings.Count(log.String(), "msg=extended"); n != 1 {
		t.Errorf("%d lines for an extension", n)
	}
}

// TestGrantStartsProgram: the log does not report that no lease needs the program, since
// this one does.
func TestGrantStartsProgram(t *testing.T) {
	c := newCommanded(false)
	log := new(strings.Builder)
	c.Service.log, c.Service.commands = slog.New(slog.NewTextHandler(log, nil)), nil
	if err := c.all.openOne(grant("com1", "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if !strings.Contains(text, "lease waits for the program") || strings.Contains(text, "no lease") {
		t.Error(text)
	}
}

// TestWatchersOfOtherServices: a service without program or commands is reported by
// the result of its grants.
func TestWatchersOfOtherServices(t *testing.T) {
	c := newCommanded(false)
	all, err := NewServices([]*Service{c.Service, serviceOf("ssh", 128)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	names := all.Immediate(client(1))
	if len(names) != 1 || names[0] != "ssh" || !all.Defers(c.ID()) || all.Defers(access.ID("ssh")) {
		t.Errorf("at once: %v", names)
	}
}

// TestCommandsAgainstModel: whatever happens to leases, an enforcer admits exactly the
// peers of those whose opening command has succeeded, while the program is ready; and
// the commands of each lease hear of its end once, except after a failure.
func TestCommandsAgainstModel(t *testing.T) {
	type key struct{ client, address string }
	type modelled struct {
		until   time.Time
		command *commandOf
	}
	rapid.Check(t, func(t *rapid.T) {
		anyone := rapid.Bool().Draw(t, "anyone")
		c := newCommanded(anyone)
		model := map[key]*modelled{}
		ready, commands := false, true
		drawn := func() key {
			return key{fmt.Sprintf("com%d", rapid.IntRange(1, 3).Draw(t, "client")), fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 4).Draw(t, "address"))}
		}
		over := func(gone func(key) bool) {
			for k := range model {
				if gone(k) {
					delete(model, k)
				}
			}
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			c.now = c.now.Add(time.Nanosecond)
			switch rapid.IntRange(0, 12).Draw(t, "step") {
			case 0, 1, 2:
				batch := map[key]bool{}
				var grants []sessions.Grant
				for range rapid.IntRange(1, 2).Draw(t, "grants") {
					if k := drawn(); !batch[k] && (len(batch) == 0 || !batch[key{k.client, k.address}]) {
						batch[k] = true
						grants = append(grants, grant(k.client, k.address))
					}
				}
				if len(grants) == 2 && grants[0].Identifier == grants[1].Identifier {
					grants = grants[:1] // leases with one end: which one is displaced is open
				}
				before := len(c.commands.begun)
				if errs := c.all.Open(grants); errs != nil {
					t.Fatal(errs)
				}
				for _, g := range grants {
					k := key{string(g.Identifier[:]), g.Address.String()}
					if model[k] == nil {
						var of []key
						for other := range model {
							if other.client == k.client {
								of = append(of, other)
							}
						}
						if len(of) == 2 {
							first := of[0]
							if model[of[1]].until.Before(model[first].until) {
								first = of[1]
							}
							delete(model, first)
						}
						if before == len(c.commands.begun) {
							t.Fatal("a lease began without commands")
						}
						model[k] = &modelled{command: c.commands.begun[before]}
						before++
					}
					model[k].until = c.now.Add(10 * time.Second)
				}
			case 3:
				c.now = c.now.Add(time.Duration(rapid.IntRange(1, 6).Draw(t, "pass")) * time.Second)
				c.sweep()
				over(func(k key) bool { return !c.now.Before(model[k].until) })
			case 4:
				k := drawn()
				c.all.Execute(Command{Service: c.ID(), Grant: grant(k.client, k.address), Action: Close})
				delete(model, k)
			case 5:
				k := drawn()
				c.all.Revoke(func(id wire.Identifier) bool { return string(id[:]) == k.client }, Revoked)
				over(func(other key) bool { return other.client == k.client })
			case 6:
				c.all.EndAll()
				clear(model)
			case 7:
				k := drawn()
				c.all.EndLeases(func(l Lease) bool { return string(l.Client[:]) == k.client && l.Peer == peer(k.address) }, false, ByAdministrator)
				delete(model, k)
			case 8:
				ready = !ready
				var err error
				if !ready {
					err = errors.New("it has ended")
				}
				c.program.changed(err)
			case 9:
				commands = !commands
				var err error
				if !commands {
					err = errors.New("no command can run")
				}
				c.commands.changed(err)
			case 10:
				terms := c.terms
				terms.Anyone = !terms.Anyone
				if err := c.Service.prepare(terms); err != nil {
					t.Fatal(err)
				}
				if rapid.Bool().Draw(t, "commit") {
					stays := drawn().client
					c.commit(terms, func(id wire.Identifier) bool { return string(id[:]) == stays }, Update{}.why)
					over(func(k key) bool { return k.client != stays })
					anyone = terms.Anyone
				} else {
					c.abort()
				}
			default: // an opening command ends, perhaps of a lease that is over
				var running []*commandOf
				for _, b := range c.commands.begun {
					if b.result == nil {
						running = append(running, b)
					}
				}
				if len(running) == 0 {
					break
				}
				b := rapid.SampledFrom(running).Draw(t, "command")
				if rapid.Bool().Draw(t, "succeeds") {
					b.finish(nil)
				} else if len(b.ends) == 0 {
					b.finish(errors.New("exit code 1"))
					over(func(k key) bool { return model[k].command == b })
				}
			}
			want := map[access.Peer]time.Time{}
			lives := map[*commandOf]bool{}
			for k, m := range model {
				lives[m.command] = true
				if m.command.result == nil || !ready || !commands {
					continue
				}
				peers := []access.Peer{peer(k.address)}
				if anyone {
					peers = []access.Peer{access.Anyone4, access.Anyone6}
				}
				for _, p := range peers {
					want[p] = later(want[p], m.until)
				}
			}
			for p, until := range want {
				if got := c.enforcer.open[p]; !got.Equal(until) {
					t.Fatalf("%s is admitted until %s, want %s", p, got.Sub(epoch), until.Sub(epoch))
				}
			}
			if len(c.enforcer.open) != len(want) || len(c.all.Leases()) != len(model) {
				t.Fatalf("admitted %v, want %v; %d leases, want %d", c.enforcer.open, want, len(c.all.Leases()), len(model))
			}
			for i, b := range c.commands.begun {
				ends := 1
				if lives[b] || b.result != nil && *b.result != nil {
					ends = 0
				}
				if len(b.ends) != ends {
					t.Fatalf("lease %d, %s of %s: ends %v, want %d", i, b.Client, b.Address, b.ends, ends)
				}
			}
			if c.sweep(); c.program.needed != (len(model) > 0) {
				t.Fatalf("needed %v, with %d leases", c.program.needed, len(model))
			}
		}
		c.Service.close()
		for i, b := range c.commands.begun {
			if failed := b.result != nil && *b.result != nil; len(b.ends) == 1 == failed {
				t.Fatalf("after the stop, lease %d: ends %v", i, b.ends)
			}
			if b.result == nil {
				b.finish(nil)
			}
		}
		if c.program.needed || !c.enforcer.closed {
			t.Fatal("the program is needed after the stop")
		}
	})
}

// TestRandomPortWaits: a random port is bound, and admits its peer when the program and
// the opening command are ready.
func TestRandomPortWaits(t *testing.T) {
	o := &opener{ports: map[uint16]*pretended{}}
	now := epoch
	boot := func() time.Time { return now }
	commands, program := &commandsOf{}, &programOf{}
	s := NewService(ServiceConfig{
		Name: "web", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 2}, Enforcers: []access.Enforcer{o},
		Clock: clock.Clock{Wall: boot, Monotonic: boot, Boot: boot}, Log: slog.New(slog.DiscardHandler), Commands: commands, Backend: program,
	})
	open := func(port uint16) {
		t.Helper()
		g := sessions.Grant{Identifier: client(1), Address: netip.MustParseAddr("192.0.2.1")}
		if err := s.Execute(Command{Grant: g, Port: port, Operation: "in"}); err != nil {
			t.Fatal(err)
		}
	}
	open(1)
	b := commands.begun[0]
	if o.ports[1].peer.IsValid() || !program.needed || b.Port != 1 || b.Operation != "in" || !b.Until.Equal(epoch.Add(10*time.Second)) {
		t.Errorf("waits: admits %s, needed %v, commands %+v", o.ports[1].peer, program.needed, b.CommandLease)
	}
	commands.begun[0].finish(nil)
	if o.ports[1].peer.IsValid() {
		t.Error("admits without a program")
	}
	program.changed(nil)
	if o.ports[1].peer != peer("192.0.2.1") || !o.ports[1].until.Equal(epoch.Add(10*time.Second)) {
		t.Errorf("ready: admits %s", o.ports[1].peer)
	}
	program.changed(errors.New("it has ended"))
	if o.ports[1].peer.IsValid() {
		t.Error("admits when the program has ended")
	}
	program.changed(nil)
	// A connection comes: the program is needed until it ends.
	o.ports[1].state = PortUsed
	now = now.Add(11 * time.Second)
	s.sweep()
	if ends := commands.begun[0].ends; len(ends) != 1 || !program.needed {
		t.Errorf("used, after its time: ends %v, needed %v", ends, program.needed)
	}
	o.ports[1].state = PortOver
	s.sweep()
	if program.needed || len(commands.begun[0].ends) != 1 {
		t.Error("needed without a connection")
	}
	// A failed command ends the port.
	open(2)
	commands.begun[1].finish(errors.New("exit code 1"))
	if o.ports[2].state != PortOver || len(commands.begun[1].ends) != 0 {
		t.Errorf("failed: state %d, ends %v", o.ports[2].state, commands.begun[1].ends)
	}
	// So do too many further ones of the client, and the end of the service.
	for i := range portsPerClient + 1 {
		open(uint16(3 + i))
	}
	if ends := commands.begun[2].ends; len(ends) != 1 || ends[0] != displaced {
		t.Errorf("displaced: ends %v", ends)
	}
	s.close()
	for _, b := range commands.begun[3:] {
		if len(b.ends) != 1 || b.ends[0] != Stopped {
			t.Errorf("stopped: ends %v", b.ends)
		}
	}
	if len(commands.begun[2].ends) != 1 {
		t.Errorf("a port that has ended: ends %v", commands.begun[2].ends)
	}
}

// TestPendingBesideAnother: a pending lease neither keeps a peer admitted whose other
// lease has ended, nor does an enforcer that fails for that other lease concern it.
func TestPendingBesideAnother(t *testing.T) {
	c := newCommanded(false)
	c.program.changed(nil)
	c.all.openOne(grant("com1", "192.0.2.1"))
	c.commands.begun[0].finish(nil)
	c.now = c.now.Add(5 * time.Second)
	c.all.openOne(grant("com2", "192.0.2.1"))
	c.enforcer.fail = errors.New("no room")
	if err := c.all.openOne(grant("com2", "192.0.2.1")); err != nil {
		t.Errorf("extend a pending lease: %v", err)
	}
	c.now = c.now.Add(6 * time.Second)
	if c.sweep(); len(c.enforcer.open) != 0 || len(c.enforcer.cut) != 1 || len(c.all.Leases()) != 1 {
		t.Errorf("the admitting lease has ended: admits %v, cut %v", c.enforcer.open, c.enforcer.cut)
	}
}
