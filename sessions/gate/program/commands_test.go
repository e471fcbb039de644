package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// disk is a record in memory.
type disk struct {
	mu      sync.Mutex
	content []state.Closing
	damaged error
	full    bool
	slow    time.Duration
	writes  int
}

func (d *disk) Read() ([]state.Closing, error) { return slices.Clone(d.content), d.damaged }

func (d *disk) Write(list []state.Closing) error {
	d.mu.Lock()
	slow := d.slow
	d.mu.Unlock()
	time.Sleep(slow)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.full {
		return errors.New("no space left on device")
	}
	d.content = slices.Clone(list)
	return nil
}

// set changes the disk: whether it is full, and how slow it is.
func (d *disk) set(full bool, slow time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.slow = full, slow
}

// count returns the number of recorded commands, and of writes.
func (d *disk) count() (recorded, writes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.content), d.writes
}

func (d *disk) has(operation string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.content, func(c state.Closing) bool { return c.Operation == operation })
}

// ledger checks what the commands of all leases do. A lease is known by the name of its
// operation.
type ledger struct {
	fakes     *fakes
	disk      *disk
	violated  string
	live      map[string]int    // by client and address
	begun     map[string]string // leases whose opening command has begun, or that opened without one, and not closed: their places
	succeeded map[string]int    // how often their closing commands have succeeded
	effect    map[string]bool   // done was called with nil
	events    []string
}

func newLedger() *ledger {
	l := &ledger{
		fakes: newFakes(), disk: &disk{}, live: map[string]int{}, begun: map[string]string{}, succeeded: map[string]int{}, effect: map[string]bool{},
	}
	l.fakes.onStart, l.fakes.onOver = l.start, l.over
	return l
}

func variable(r Request, name string) string {
	for _, v := range r.Env {
		if value, ok := strings.CutPrefix(v, "SALLYPORT_"+name+"="); ok {
			return value
		}
	}
	return "?"
}

func placeOf(r Request) string {
	return r.Program.Service + " " + variable(r, "CLIENT") + " " + variable(r, "PREFIX")
}

// log returns the commands so far.
func (l *ledger) log() []string {
	l.fakes.mu.Lock()
	defer l.fakes.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *ledger) violate(format string, args ...any) {
	if l.violated == "" {
		l.violated = fmt.Sprintf(format, args...)
	}
}

// start is called when a command starts.
func (l *ledger) start(r Request) {
	lease, at := variable(r, "OPERATION"), placeOf(r)
	if l.fakes.behaves.fails != nil || isClosed(l.fakes.gone) {
		return
	}
	l.events = append(l.events, variable(r, "EVENT")+" "+lease+" "+variable(r, "REASON"))
	if l.live[at]++; l.live[at] > 1 {
		l.violate("two commands of %s run", at)
	}
	service, all := 0, 0
	for other, n := range l.live {
		if all += n; strings.HasPrefix(other, r.Program.Service+" ") {
			service += n
		}
	}
	if service > serviceRuns || all > maxRuns {
		l.violate("%d commands of %s run, and %d in all", service, r.Program.Service, all)
	}
	if r.Program.Role == OnClose {
		if l.effect[lease] && l.succeeded[lease] > 0 && variable(r, "REASON") != reasonCrash {
			l.violate("the closing command of %s runs again", lease)
		}
		return
	}
	if r.Program.Service == "both" && !l.disk.has(lease) {
		l.violate("%s is not on disk", lease)
	}
	if r.Program.Service == "both" {
		l.begins(lease, at)
	}
}

// begins checks that the closing commands of earlier leases of the place are over.
func (l *ledger) begins(lease, at string) {
	for earlier, other := range l.begun {
		if other == at && !l.effect[earlier] {
			l.violate("%s overtakes the closing command of %s", lease, earlier)
		}
	}
	l.begun[lease] = at
}

// over is called when a command has ended.
func (l *ledger) over(f *fake) {
	l.live[placeOf(f.request)]--
	lease := variable(f.request, "OPERATION")
	if f.request.Program.Role == OnClose && f.err == nil {
		l.succeeded[lease]++
		delete(l.begun, lease)
	}
}

// lease is a lease of the model of a gate.
type lease struct {
	gate.CommandedLease
	name, service, address string
	client                 int
	result                 *error
	over                   bool
}

// commandsTest is Commands of three services that run, in a bubble.
type commandsTest struct {
	*Commands
	*ledger
	host *clocktest.Host
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	leases []*lease
	named  int
	output io.Writer // gets the log; nil: the log is discarded
}

func (c *commandsTest) begin() {
	log := slog.New(slog.DiscardHandler)
	if c.output != nil {
		log = slog.New(slog.NewTextHandler(c.output, nil))
	}
	c.Commands = NewCommands(CommandsConfig{
		Services: []ServiceCommands{
			{Service: "both", Open: true, Close: true, Limit: 10 * time.Second},
			{Service: "open", Open: true, Limit: 10 * time.Second},
			{Service: "close", Close: true, Limit: 10 * time.Second},
		},
		Starter: c.fakes, Record: c.disk, Clock: c.host.Clock(), Log: log,
	})
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.done = stop, make(chan struct{})
	go func() {
		defer close(c.done)
		c.Run(ctx)
	}()
}

func newCommandsTest() *commandsTest {
	c := &commandsTest{ledger: newLedger(), host: clocktest.NewHost()}
	c.fakes.behaves = behaviour{dieAfter: 10 * time.Millisecond}
	c.begin()
	return c
}

// open begins a lease.
func (c *commandsTest) open(service string, client int, address string) (*lease, error) {
	a := netip.MustParseAddr(address)
	c.named++
	l := &lease{name: fmt.Sprint("lease-", c.named), service: service, address: address, client: client}
	id := wire.Identifier([]byte(fmt.Sprintf("com%d", client)))
	var err error
	l.CommandedLease, err = c.For(service).Begin(gate.CommandLease{
		Client: id, Operation: l.name, Address: a, Peer: access.PeerOf(a, access.PrefixHost), Until: time.Now().Add(time.Minute),
	}, func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.result != nil {
			c.violate("%s: done twice", l.name)
		}
		l.result = &err
		c.fakes.mu.Lock()
		defer c.fakes.mu.Unlock()
		if err == nil && !l.over {
			c.effect[l.name] = true
			if service == "close" {
				if !c.disk.has(l.name) {
					c.violate("%s is not on disk", l.name)
				}
				c.begins(l.name, fmt.Sprintf("close com%d %s/32", client, address))
			}
		}
	})
	if err == nil {
		c.leases = append(c.leases, l)
	}
	return l, err
}

// end ends a lease.
func (c *commandsTest) end(l *lease, reason gate.EndReason) {
	c.mu.Lock()
	failed := l.result != nil && *l.result != nil
	was := l.over
	l.over = true
	c.mu.Unlock()
	if !failed && !was {
		c.fakes.mu.Lock()
		delete(c.effect, l.name)
		c.fakes.mu.Unlock()
		l.End(reason)
	}
}

func (c *commandsTest) result(l *lease) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.result == nil:
		return "pending"
	case *l.result == nil:
		return "open"
	}
	return (*l.result).Error()
}

// finish ends all leases, as a gate that closes, and waits for Run.
func (c *commandsTest) finish() {
	for _, l := range c.leases {
		c.end(l, gate.Stopped)
	}
	c.stop()
	<-c.done
}

// TestCommandsOfALease: the opening command before the lease, the closing command after
// it, both with what they are about.
func TestCommandsOfALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		l, err := c.open("both", 1, "2001:db8::7")
		if err != nil || c.result(l) != "pending" {
			t.Fatal(err, c.result(l))
		}
		pass(5 * time.Millisecond)
		if c.result(l) != "pending" || !c.disk.has(l.name) {
			t.Errorf("while the command runs: %s", c.result(l))
		}
		pass(time.Second)
		if c.result(l) != "open" {
			t.Errorf("after the command: %s", c.result(l))
		}
		want := []string{
			"SALLYPORT_EVENT=open", "SALLYPORT_REASON=operation", "SALLYPORT_SERVICE=both", "SALLYPORT_CLIENT=com1", "SALLYPORT_OPERATION=lease-1",
			"SALLYPORT_ADDRESS=2001:db8::7", "SALLYPORT_PREFIX=2001:db8::7/128", "SALLYPORT_UNTIL=2000-01-01T00:01:00Z", "SALLYPORT_PORT=",
			fmt.Sprintf("SALLYPORT_LEASE=%016x", c.disk.content[0].ID),
		}
		if got := c.fakes.runs[0].request.Env; !slices.Equal(got, want) {
			t.Errorf("environment %q", got)
		}
		c.end(l, gate.ByAdministrator)
		pass(time.Second)
		if len(c.fakes.runs) != 2 || variable(c.fakes.runs[1].request, "REASON") != "administrator" || c.disk.has(l.name) {
			t.Errorf("events %v, on disk %v", c.log(), c.disk.content)
		}
		c.finish()
	})
}

// TestOpeningCommandThatFails, or hangs, or cannot start: the lease does not open; the
// closing command runs if the command has begun, even if the lease has ended meanwhile.
func TestOpeningCommandThatFails(t *testing.T) {
	for _, row := range []struct {
		name    string
		behaves behaviour
		ends    bool // while the command runs
		want    string
		events  string
	}{
		{"fails", behaviour{dieAfter: 10 * time.Millisecond, code: errors.New("exit code 3")}, false, "exit code 3", "open lease-1 operation, close lease-1 open-failed"},
		{"hangs", behaviour{}, false, errLimit.Error(), "open lease-1 operation, close lease-1 open-failed"},
		{"cannot start", behaviour{fails: errors.New("too many")}, false, "too many", ""},
		{"ends", behaviour{dieAfter: time.Second}, true, "pending", "open lease-1 operation, close lease-1 administrator"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCommandsTest()
			c.fakes.behave(row.behaves)
			l, _ := c.open("both", 1, "192.0.2.1")
			pass(5 * time.Millisecond)
			if row.ends {
				c.end(l, gate.ByAdministrator)
			}
			c.fakes.behave(behaviour{dieAfter: time.Millisecond})
			pass(time.Minute)
			got := strings.Join(c.log(), ", ")
			if c.result(l) != row.want || got != row.events || len(c.disk.content) != 0 {
				t.Errorf("%s: %s, events %s", row.name, c.result(l), got)
			}
			c.finish()
		})
	}
}

// TestClosingCommandThatFails is tried again, with growing pauses, and listed; the next
// lease of the address waits for it, and others do not.
func TestClosingCommandThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		l, _ := c.open("both", 1, "192.0.2.1")
		pass(time.Second)
		c.fakes.behave(behaviour{dieAfter: 10 * time.Millisecond, code: errors.New("exit code 1")})
		c.end(l, gate.ByAdministrator)
		pass(time.Second)
		c.fakes.behave(behaviour{dieAfter: 10 * time.Millisecond})
		next, _ := c.open("both", 1, "192.0.2.1")
		other, _ := c.open("both", 2, "192.0.2.1")
		synctest.Wait()
		failing, n := c.Failing()
		if n != 1 || len(failing) != 1 || failing[0].Attempts != 1 || failing[0].Error != "exit code 1" || failing[0].Operation != l.name {
			t.Errorf("failing %+v", failing)
		}
		pass(15 * time.Millisecond)
		if c.result(next) != "pending" || c.result(other) != "open" || !c.disk.has(l.name) {
			t.Errorf("next %s, other %s", c.result(next), c.result(other))
		}
		pass(time.Second)
		if _, n := c.Failing(); n != 0 || c.result(next) != "open" {
			t.Errorf("%d fail, next %s", n, c.result(next))
		}
		// A command that always fails is tried for ever, at most every lastRetry.
		c.fakes.behave(behaviour{dieAfter: 10 * time.Millisecond, code: errors.New("exit code 1")})
		c.end(next, gate.ByAdministrator)
		synctest.Wait()
		before := len(c.log())
		pass(24 * time.Hour)
		if n := len(c.log()) - before; n < 280 || n > 300 {
			t.Errorf("%d attempts in a day", n)
		}
		c.finish()
		if !c.disk.has(next.name) {
			t.Error("forgotten")
		}
	})
}

// TestClosingCommandsThatHang take one run of the service, after their first attempts:
// leases of other addresses open meanwhile.
func TestClosingCommandsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		for client := range 8 {
			c.open("both", client, "192.0.2.1")
		}
		pass(time.Second)
		c.fakes.behave(behaviour{})
		for _, l := range c.leases {
			c.end(l, gate.ByAdministrator)
		}
		pass(time.Minute)
		most := 0
		c.fakes.mu.Lock()
		c.fakes.onStart = func(r Request) {
			c.start(r)
			most = max(most, c.fakes.live+1)
		}
		c.fakes.mu.Unlock()
		pass(time.Hour)
		if most != serviceRetries {
			t.Errorf("%d run at a time", most)
		}
		c.fakes.behave(behaviour{dieAfter: 10 * time.Millisecond})
		l, _ := c.open("both", 1, "192.0.2.2")
		if pass(time.Second); c.result(l) != "open" {
			t.Errorf("another address: %s", c.result(l))
		}
		c.finish()
	})
}

// TestFullDisk: nothing opens whose end could not be recorded; closing commands run.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		l, _ := c.open("both", 1, "192.0.2.1")
		pass(time.Second)
		c.disk.set(true, 0)
		for i, service := range []string{"both", "close"} {
			other, err := c.open(service, 2, fmt.Sprintf("192.0.2.%d", 2+i))
			if pass(time.Second); err != nil || !strings.Contains(c.result(other), "no space left") {
				t.Errorf("%s: %v, %s", service, err, c.result(other))
			}
		}
		c.end(l, gate.ByAdministrator)
		if pass(time.Second); c.succeeded[l.name] != 1 || !c.disk.has(l.name) {
			t.Errorf("events %v", c.log())
		}
		c.disk.set(false, 0)
		if pass(2 * time.Second); len(c.disk.content) != 0 || len(c.log()) != 2 {
			t.Errorf("on disk %v, events %v", c.disk.content, c.log())
		}
		c.finish()
	})
}

// TestFloodOfLeases: a client makes leases as fast as it can, each displaces an older
// one. It gets no more than its share; others open meanwhile, and all of it ends.
func TestFloodOfLeases(t *testing.T) {
	for _, addresses := range []int{8, 256} {
		synctest.Test(t, func(t *testing.T) {
			c := newCommandsTest()
			c.disk.set(false, 5*time.Millisecond)
			c.fakes.behave(behaviour{dieAfter: 100 * time.Millisecond})
			var own []*lease
			refused := 0
			const flood = 10_000 // one in a millisecond
			for i := range flood {
				l, err := c.open("both", 1, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String())
				switch {
				case err == nil:
					if own = append(own, l); len(own) > addresses {
						c.end(own[0], gate.ByAdministrator)
						own = own[1:]
					}
				case errors.Is(err, errClientBusy):
					refused++
				default:
					t.Fatal(err)
				}
				if i == flood/2 {
					honest, err := c.open("both", 2, "192.0.2.1")
					began := time.Now()
					for err == nil && c.result(honest) == "pending" && time.Since(began) < time.Minute {
						pass(time.Millisecond)
					}
					took := time.Since(began)
					if err != nil || c.result(honest) != "open" || took > 500*time.Millisecond {
						t.Errorf("another client opens after %s: %v", took, err)
					}
				}
				pass(time.Millisecond)
			}
			synctest.Wait()
			seconds := flood / 1000
			_, writes := c.disk.count()
			if len(c.fakes.runs) > 10*seconds*serviceRuns+10 || writes > 200*seconds+10 || (refused > 0) != (addresses > clientUnfinished) {
				t.Errorf("refused %d, %d runs, %d writes", refused, len(c.fakes.runs), writes)
			}
			c.finish()
			if len(c.disk.content) != 0 || c.violated != "" || len(c.begun) != 0 {
				t.Errorf("left %v, %s", c.disk.content, c.violated)
			}
		})
	}
}

// TestLeasesAreBounded: all clients together.
func TestLeasesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		c.fakes.behave(behaviour{dieAfter: time.Second})
		n := 0
		for client := range 1000 {
			id := wire.Identifier{byte(client >> 8), byte(client), 1, 1}
			for address := range 2 {
				a := netip.AddrFrom4([4]byte{192, 0, 2, byte(address)})
				_, err := c.For("both").Begin(gate.CommandLease{Client: id, Address: a, Peer: access.PeerOf(a, access.PrefixHost)}, func(error) {})
				if err == nil {
					n++
				} else if err != errBusy {
					t.Fatal(err)
				}
			}
		}
		if n != maxUnfinished {
			t.Errorf("%d accepted", n)
		}
		c.finish()
	})
}

// TestStopIsBounded: a closing command that hangs does not hold up the end; it is left in
// the record, and the next start runs it first.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		for client := range 5 {
			c.open("both", client, "192.0.2.1")
		}
		pass(time.Second)
		c.fakes.behave(behaviour{stopTime: time.Second})
		began := time.Now()
		c.finish()
		took := time.Since(began)
		if took < drainTime || took > drainTime+endTime || len(c.disk.content) != 5 || c.violated != "" {
			t.Errorf("stopped after %s, %d left, %s", took, len(c.disk.content), c.violated)
		}
		if _, err := c.For("both").Begin(gate.CommandLease{}, nil); !errors.Is(err, errStopped) {
			t.Errorf("after the end: %v", err)
		}
		c.fakes.behave(behaviour{dieAfter: time.Millisecond})
		c.events, c.leases = nil, nil
		c.begin()
		l, _ := c.open("both", 1, "192.0.2.1")
		pass(time.Second)
		if len(c.log()) != 6 || len(c.disk.content) != 1 || c.result(l) != "open" || c.violated != "" {
			t.Errorf("next start: %v, left %v, %s", c.log(), c.disk.content, c.violated)
		}
		crashed := 0
		for _, e := range c.log() {
			if strings.HasPrefix(e, "close") && strings.HasSuffix(e, "crash") {
				crashed++
			}
		}
		if crashed != 5 { // the ledger knows the order
			t.Errorf("next start: %v", c.log())
		}
		c.finish()
	})
}

// TestRecordOfOtherConfiguration: a service without a closing command now is forgotten,
// and what is readable of a damaged record runs.
func TestRecordOfOtherConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &commandsTest{ledger: newLedger(), host: clocktest.NewHost()}
		c.fakes.behaves = behaviour{dieAfter: time.Millisecond}
		c.disk.damaged = errors.New("damaged")
		for _, service := range []string{"both", "open", "gone"} {
			c.disk.content = append(c.disk.content, state.Closing{Service: service, Operation: service, Address: netip.MustParseAddr("192.0.2.1")})
		}
		c.begin()
		if pass(time.Second); len(c.log()) != 1 || c.log()[0] != "close both crash" || len(c.disk.content) != 0 {
			t.Errorf("events %v, left %v", c.log(), c.disk.content)
		}
		c.finish()
	})
}

// TestLogOfLeasesWithoutClient: the log names the operation of a lease that belongs to no
// client.
func TestLogOfLeasesWithoutClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &commandsTest{ledger: newLedger(), host: clocktest.NewHost(), output: &log}
		c.fakes.behaves = behaviour{dieAfter: time.Millisecond, code: errors.New("exit code 1")}
		for _, service := range []string{"both", "gone"} {
			c.disk.content = append(c.disk.content, state.Closing{Service: service, Operation: "hold-" + service, Address: netip.MustParseAddr("192.0.2.1")})
		}
		c.begin()
		pass(time.Second)
		c.finish()
		for _, line := range []string{
			`msg="closing command failed; retrying" service=both operation=hold-both address=192.0.2.1 error="exit code 1"`,
			`msg="recorded closing command dropped: the service has none now" service=gone operation=hold-gone address=192.0.2.1`,
		} {
			if !strings.Contains(log.String(), line+"\n") {
				t.Errorf("expected %s in\n%s", line, &log)
			}
		}
	})
}

// TestLostRunnerOfCommands: the gate hears of it.
func TestLostRunnerOfCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		why := make(chan error, 1)
		c.For("both").Watch(func(err error) { why <- err })
		l, _ := c.open("both", 1, "192.0.2.1")
		pass(time.Second)
		close(c.fakes.gone)
		if err := <-why; !errors.Is(err, ErrLost) {
			t.Error(err)
		}
		other, _ := c.open("both", 1, "192.0.2.2")
		if pass(time.Second); c.result(other) != ErrLost.Error() {
			t.Errorf("opens: %s", c.result(other))
		}
		c.end(l, gate.ByAdministrator)
		began := time.Now()
		if c.finish(); time.Since(began) > time.Second || !c.disk.has(l.name) {
			t.Errorf("stopped after %s, left %v", time.Since(began), c.disk.content)
		}
	})
}

// TestCommandsAgainstAnyLeases: whatever happens to leases, commands, the disk and the
// server: an opening command begins only when its closing command is on disk; commands
// of one client and address never run at the same time, nor does a lease open before the
// closing commands of earlier ones have succeeded; each lease whose opening command has
// begun gets its closing command in the end.
func TestCommandsAgainstAnyLeases(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCommandsTest()
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				switch rapid.IntRange(0, 11).Draw(rt, "step") {
				case 0, 1, 2, 3:
					service := rapid.SampledFrom([]string{"both", "both", "both", "open", "close"}).Draw(rt, "service")
					client, address := rapid.IntRange(1, 2).Draw(rt, "client"), fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(rt, "address"))
					// A gate has one lease of a client and address at a time.
					for _, l := range c.leases {
						if l.service == service && l.client == client && l.address == address {
							c.end(l, gate.ByAdministrator)
						}
					}
					c.open(service, client, address)
				case 4, 5:
					if len(c.leases) > 0 {
						c.end(rapid.SampledFrom(c.leases).Draw(rt, "lease"), gate.ByAdministrator)
					}
				case 6:
					b := behaviour{dieAfter: time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "runs")) * time.Millisecond, stopTime: time.Duration(rapid.IntRange(0, 3).Draw(rt, "stops")) * time.Second}
					if rapid.Bool().Draw(rt, "fails") {
						b.code = errors.New("exit code 1")
					}
					if rapid.IntRange(0, 5).Draw(rt, "cannot start") == 0 {
						b.fails = errors.New("too many")
					}
					c.fakes.behave(b)
				case 7:
					c.disk.set(rapid.Bool().Draw(rt, "full"), time.Duration(rapid.IntRange(0, 100).Draw(rt, "slow"))*time.Millisecond)
				case 8:
					c.crash()
				default:
					pass(time.Duration(rapid.IntRange(0, 12_000).Draw(rt, "pass")) * time.Millisecond)
				}
				if synctest.Wait(); c.violated != "" {
					rt.Fatal(c.violated, "\n", strings.Join(c.log(), "\n"))
				}
			}
			c.fakes.behave(behaviour{dieAfter: 10 * time.Millisecond})
			c.disk.set(false, 0)
			for _, l := range c.leases {
				c.end(l, gate.ByAdministrator)
			}
			if pass(time.Hour); len(c.disk.content) != 0 || len(c.fakes.runs) > 0 && c.fakes.live != 0 {
				rt.Fatalf("left: %v, %d run\n%s", c.disk.content, c.fakes.live, strings.Join(c.log(), "\n"))
			}
			for name := range c.begun {
				rt.Fatalf("%s has had no closing command\n%s", name, strings.Join(c.log(), "\n"))
			}
			c.finish()
			if c.violated != "" || len(c.disk.content) != 0 {
				rt.Fatal(c.violated, c.disk.content)
			}
		})
	})
}

// crash ends the server at once: its commands end with it, its leases are over, and the
// next server has the record as it was.
func (c *commandsTest) crash() {
	c.disk.mu.Lock()
	left := &disk{content: c.disk.content, full: c.disk.full, slow: c.disk.slow}
	c.disk.mu.Unlock()
	old := c.fakes
	old.mu.Lock()
	old.onStart, old.onOver = nil, nil
	old.mu.Unlock()
	close(old.gone)
	c.stop()
	<-c.done
	c.mu.Lock()
	for _, l := range c.leases {
		l.over = true
	}
	c.mu.Unlock()
	c.leases = nil
	c.fakes = newFakes()
	c.fakes.behaves, c.fakes.onStart, c.fakes.onOver = old.behaves, c.start, c.over
	c.disk = left
	clear(c.live)
	clear(c.effect)
	c.begin()
}

// TestEnvironmentForAnyAddress: a lease for any address has none, and no prefix.
func TestEnvironmentForAnyAddress(t *testing.T) {
	got := Environment(eventOpen, reasonOperation, state.Closing{Service: "ssh", Peer: access.AnyAddress})
	for _, want := range []string{"SALLYPORT_ADDRESS=", "SALLYPORT_PREFIX=any"} {
		if !slices.Contains(got, want) {
			t.Errorf("%v, want %s", got, want)
		}
	}
}
