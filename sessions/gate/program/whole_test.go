package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// wholeGate is a gate of one service with a program and commands.
type wholeGate struct {
	*gate.Services
	*ledger
	host    *clocktest.Host
	program *fakes // of the server
	stop    func() // ends the gate, and then the commands
	door    *door
	service access.ServiceID
}

// door is the enforcer. It checks each peer that it admits.
type door struct {
	whole *wholeGate
	mu    sync.Mutex
	open  access.Set
}

// Apply implements access.Enforcer.
func (d *door) Apply(changes []access.Change) []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open.Begin(changes)
	for _, c := range changes {
		if !c.Until.IsZero() {
			d.whole.admitted(c.Peer)
		}
	}
	return nil
}

func (d *door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open.Clear()
	return nil
}

func (d *door) admits(a netip.Addr, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open.Allows(a, now)
}

// admitted checks a peer that is admitted: the opening command of a lease for it has
// succeeded, its closing command has not begun, and the server accepts.
func (w *wholeGate) admitted(p access.Peer) {
	w.fakes.mu.Lock()
	defer w.fakes.mu.Unlock()
	if w.succeeded["up "+p.Prefix.String()] == 0 {
		w.violate("%s is admitted before the opening command has succeeded", p)
	}
	if w.program.accepts(context.Background()) != nil {
		w.violate("%s is admitted, and nothing accepts", p)
	}
}

// track maintains the number of leases of a peer that may be open: those whose opening
// command has succeeded, and whose closing command has not begun.
func (w *wholeGate) track() {
	w.fakes.onStart = func(r Request) {
		w.ledger.start(r)
		if r.Program.Role == OnClose && w.effect[variable(r, "OPERATION")] {
			w.succeeded["up "+variable(r, "PREFIX")]--
			delete(w.effect, variable(r, "OPERATION"))
		}
	}
	w.fakes.onOver = func(f *fake) {
		w.ledger.over(f)
		if f.request.Program.Role == OnOpen && f.err == nil {
			w.effect[variable(f.request, "OPERATION")] = true
			w.succeeded["up "+variable(f.request, "PREFIX")]++
		}
	}
}

func newWholeGate() *wholeGate {
	w := &wholeGate{ledger: newLedger(), host: clocktest.NewHost(), service: access.ID("both")}
	w.fakes.behaves = behaviour{dieAfter: 10 * time.Millisecond}
	w.begin(behaviour{acceptAfter: time.Second})
	return w
}

func (w *wholeGate) begin(server behaviour) {
	w.track()
	w.program = newFakes()
	w.program.behaves = server
	w.door = &door{whole: w}
	log := slog.New(slog.DiscardHandler)
	commands := NewCommands(CommandsConfig{
		Services: []ServiceCommands{{Service: "both", Open: true, Close: true, Limit: 10 * time.Second}},
		Starter:  w.fakes, Record: w.disk, Clock: w.host.Clock(), Log: log,
	})
	backend := NewBackend(BackendConfig{
		Program: ID{"both", Server}, Starter: w.program, Accepts: w.program.accepts, StartWithin: 10 * time.Second, StopAfter: time.Second, Log: log,
	})
	service := gate.NewService(gate.ServiceConfig{
		Name: "both", PrefixLen6: access.PrefixHost, Policy: gate.LeasePolicy{OpenFor: 20 * time.Second, OpenMax: time.Minute, Addresses: 2},
		Enforcers: []access.Enforcer{w.door}, Clock: w.host.Clock(), Log: log, Backend: backend, Commands: commands.For("both"),
	})
	var err error
	if w.Services, err = gate.NewServices([]*gate.Service{service}, nil); err != nil {
		panic(err)
	}
	gateEnds, endGate := context.WithCancel(context.Background())
	commandsEnd, endCommands := context.WithCancel(context.Background())
	var gateOver, over sync.WaitGroup
	gateOver.Go(func() { w.Run(gateEnds) })
	over.Go(func() { commands.Run(commandsEnd) })
	w.stop = func() {
		endGate()
		gateOver.Wait()
		endCommands()
		over.Wait()
	}
}

// crash ends all processes at once. The next server has the record as it was.
func (w *wholeGate) crash() {
	w.disk.mu.Lock()
	left := &disk{content: w.disk.content}
	w.disk.mu.Unlock()
	old := w.fakes
	old.mu.Lock()
	old.onStart, old.onOver = nil, nil
	old.mu.Unlock()
	close(old.gone)
	close(w.program.gone)
	w.stop()
	w.fakes = newFakes()
	w.fakes.behaves = old.behaves
	w.disk = left
	clear(w.live)
	clear(w.effect)
	for name := range w.succeeded {
		if strings.HasPrefix(name, "up ") {
			delete(w.succeeded, name)
		}
	}
	w.begin(w.program.behaves)
}

// TestWholeGate: whatever clients, commands, the server's program and the administrator
// do: no peer is admitted before its opening command has succeeded and while nothing
// accepts; each opening command that has begun gets its closing command; a program runs
// only while there are leases.
func TestWholeGate(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWholeGate()
			named := 0
			drawn := func() sessions.Grant {
				return sessions.Grant{
					Identifier: wire.Identifier([]byte(fmt.Sprintf("com%d", rapid.IntRange(1, 2).Draw(rt, "client")))),
					Address:    netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(rt, "address"))),
				}
			}
			for range rapid.IntRange(1, 50).Draw(rt, "steps") {
				switch rapid.IntRange(0, 14).Draw(rt, "step") {
				case 0, 1, 2, 3:
					named++
					c := gate.Command{Service: w.service, Grant: drawn(), Operation: fmt.Sprint("lease-", named)}
					if rapid.IntRange(0, 3).Draw(rt, "kept") == 0 {
						c.UntilClosed = true
					}
					w.Execute(c)
				case 4:
					w.Execute(gate.Command{Service: w.service, Grant: drawn(), Action: gate.Close})
				case 5:
					id := drawn().Identifier
					w.Revoke(func(other wire.Identifier) bool { return other == id }, gate.Revoked)
				case 6:
					w.EndAll()
				case 7:
					w.EndLeases(func(gate.Lease) bool { return true }, true, gate.ByAdministrator)
				case 8:
					b := behaviour{dieAfter: time.Duration(rapid.IntRange(0, 12_000).Draw(rt, "runs")) * time.Millisecond}
					if rapid.Bool().Draw(rt, "fails") {
						b.code = errors.New("exit code 1")
					}
					w.fakes.behave(b)
				case 9:
					b := behaviour{acceptAfter: time.Duration(rapid.IntRange(-1, 3).Draw(rt, "accepts")) * time.Second}
					if dies := rapid.IntRange(0, 20).Draw(rt, "dies"); dies > 0 {
						// Not at the same instant as the end of a command: the gate learns
						// of one before the other.
						b.dieAfter = time.Duration(dies)*time.Second + 333*time.Microsecond
					}
					w.program.behave(b)
				case 10:
					w.crash()
				default:
					pass(time.Duration(rapid.IntRange(0, 15_000).Draw(rt, "pass")) * time.Millisecond)
				}
				if synctest.Wait(); w.violated != "" {
					rt.Fatal(w.violated, "\n", strings.Join(w.log(), "\n"))
				}
			}
			// The peers that are listed as open are admitted, and no others.
			w.fakes.behave(behaviour{dieAfter: 10 * time.Millisecond})
			w.program.behave(behaviour{})
			pass(2 * time.Second)
			now := w.host.Clock().Boot()
			listed := map[netip.Addr]bool{}
			for _, l := range w.Leases() {
				listed[l.Peer.Prefix.Addr()] = listed[l.Peer.Prefix.Addr()] || l.Waits == ""
			}
			for i := range 4 {
				a := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i))
				if w.door.admits(a, now) != listed[a] {
					rt.Fatalf("%s is admitted: %v; listed as open: %v", a, !listed[a], listed[a])
				}
			}
			w.EndAll()
			pass(time.Hour)
			if _, live := w.program.count(); live != 0 || len(w.disk.content) != 0 || len(w.begun) != 0 {
				rt.Fatalf("without leases: %d programs, left %v, open %v\n%s", live, w.disk.content, w.begun, strings.Join(w.log(), "\n"))
			}
			w.stop()
			if w.violated != "" {
				rt.Fatal(w.violated)
			}
		})
	})
}
