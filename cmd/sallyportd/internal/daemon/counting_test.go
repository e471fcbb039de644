package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/gate/access"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// slowFleet is an etcd that answers when the test lets it.
type slowFleet struct {
	mu   sync.Mutex
	used map[state.UseKey]uint32
	asks []*ask
}

type ask struct {
	key    state.UseKey
	wanted uint32
	answer chan etcdAnswer
}

type etcdAnswer int

const (
	given   etcdAnswer = iota
	failed             // nothing is counted
	unknown            // it is counted, and the answer is lost
)

var errSlow = errors.New("etcd does not answer")

func (f *slowFleet) TakeUses(operation string, secret verify.Fingerprint, local, limit, wanted uint32) (taken, used uint32, err error) {
	a := &ask{state.UseKey{Operation: operation, Secret: secret}, wanted, make(chan etcdAnswer)}
	f.mu.Lock()
	f.asks = append(f.asks, a)
	f.mu.Unlock()
	how := <-a.answer
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks = slices.DeleteFunc(f.asks, func(b *ask) bool { return a == b })
	if how == failed {
		return 0, 0, errSlow
	}
	taken = min(wanted, limit-min(f.used[a.key], limit))
	f.used[a.key] += taken
	if how == unknown {
		return 0, 0, errSlow
	}
	return taken, f.used[a.key], nil
}

func (f *slowFleet) ResetUses(string, verify.Fingerprint) error { return nil }

// countingWorld is a gateway with operations, whose gate records what it executes.
type countingWorld struct {
	*challenger
	fleet    *slowFleet
	executed []command
	of       map[string]proven
	last     netip.Addr
}

const countingLimit = 3

// newCountingWorld makes a gateway, which must hold no lock while etcd is asked.
func newCountingWorld(t *testing.T, f *slowFleet) *countingWorld {
	w := &countingWorld{fleet: f, of: map[string]proven{}, last: netip.MustParseAddr("192.0.2.1")}
	var list []proven
	for _, row := range []struct {
		id, client, service string
		uses                int
		closes              bool
	}{
		{"ssh-once", "alic", "ssh", countingLimit, false}, {"ssh-free", "alic", "ssh", 0, false}, {"ssh-shut", "alic", "ssh", 0, true},
		{"web-once", "alic", "web", countingLimit, false}, {"web-bob-", "bobb", "web", countingLimit, false},
		{"all-once", "", "web", countingLimit, false}, {"all-shut", "", "web", 0, true},
	} {
		p := newProof(t, row.id, row.client, row.service)
		p.Uses, p.Close, p.secrets, p.prefixLen4 = row.uses, row.closes, []verify.Fingerprint{7}, 24
		w.of[row.id] = p
		list = append(list, p)
	}
	w.challenger = newTunnelChallenger(time.Now, list...)
	w.uses = &uses{write: func([]state.Use) error { return nil }, fleet: f}
	w.log = slog.New(slog.DiscardHandler)
	w.execute = func(all []command) []error {
		w.executed = append(w.executed, all...)
		return make([]error, len(all))
	}
	return w
}

// prove delivers the proof of a new exchange, each from another address.
func (w *countingWorld) prove(id string) netip.Addr {
	w.last = w.last.Next()
	w.proveFrom(id, w.last)
	return w.last
}

func (w *countingWorld) proveFrom(id string, from netip.Addr) {
	o := w.of[id]
	w.executeProofs([]proof{{o.grant, from, nil}})
}

// settle waits until all goroutines wait for etcd, which no lock may do.
func (w *countingWorld) settle() {
	synctest.Wait()
	if !w.mu.TryLock() {
		panic("a goroutine waits for etcd with the lock of commands")
	}
	w.mu.Unlock()
}

// answer lets etcd answer all that it is asked, until it is asked nothing more.
func (w *countingWorld) answer(how etcdAnswer) {
	for w.settle(); len(w.fleet.asks) > 0; w.settle() {
		w.fleet.asks[0].answer <- how
	}
}

func (w *countingWorld) count(id string) (n int) {
	for _, c := range w.executed {
		if c.operation == id {
			n++
		}
	}
	return n
}

// TestSlowEtcdDelaysNothing: while etcd is asked for a use, operations without a limit are
// executed, and so are tunnels; other limited operations are asked for; reloads and
// revocations go on. A client that starts over meanwhile, again and again, has one use.
func TestSlowEtcdDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCountingWorld(t, &slowFleet{used: map[state.UseKey]uint32{}})
		w.prove("ssh-once")
		w.settle()
		var last netip.Addr
		for range 5 {
			w.prove("ssh-once")
		}
		w.prove("web-bob-")
		w.prove("all-once")
		w.prove("ssh-free") // it takes the place of ssh-once
		if w.count("ssh-free") != 1 {
			t.Error("an operation without a limit waits")
		}
		w.prove("ssh-once")
		for range 5 {
			last = w.prove("ssh-once")
		}
		w.settle()
		if len(w.fleet.asks) != 3 || len(w.executed) != 1 {
			t.Errorf("%d requests at a time, %d executed", len(w.fleet.asks), len(w.executed))
		}
		free := carriedtable.Proof{Proof: w.of["ssh-free"].grant, Counted: new(atomic.Bool)}
		if _, err := w.letIn(free, self4, nil); err != nil {
			t.Errorf("a tunnel without a limit: %v", err)
		}
		w.narrow(map[wire.Identifier][]access.ServiceID{wire.Identifier([]byte("bobb")): nil})
		w.answer(given)
		newest := slices.ContainsFunc(w.executed, func(c command) bool { return c.Grant.Address == last })
		if w.count("ssh-once") != 1 || !newest || w.count("all-once") != 1 {
			t.Errorf("executed %v", w.executed)
		}
		if w.count("web-bob-") != 0 {
			t.Error("a revoked client's operation was executed")
		}
		// One use of those that were dropped, and one of those after them.
		if n := w.fleet.used[w.of["ssh-once"].limit().key]; n != 2 {
			t.Errorf("%d uses counted", n)
		}
		w.counting.close()
	})
}

// TestCountedTunnels: the command and the tunnel of an exchange that wait at the same time
// have one use together; at the stop, the proofs that etcd was asked for are executed, and no others.
func TestCountedTunnels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCountingWorld(t, &slowFleet{used: map[state.UseKey]uint32{}})
		p := carriedtable.Proof{Proof: w.of["web-once"].grant, Address: self4, Counted: new(atomic.Bool)}
		tunnel := func(p carriedtable.Proof) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := w.letIn(p, self4, nil)
				done <- err
			}()
			return done
		}
		w.executeProofs([]proof{{p.Proof, self4, p.Counted}})
		done := tunnel(p)
		w.answer(given)
		if err := <-done; err != nil || w.count("web-once") != 1 || w.fleet.used[w.of["web-once"].limit().key] != 1 {
			t.Errorf("%v, %d executed, used %v", err, w.count("web-once"), w.fleet.used)
		}
		p.Counted = new(atomic.Bool)
		w.executeProofs([]proof{{p.Proof, self4, p.Counted}})
		w.settle()
		p.Counted = new(atomic.Bool)
		done = tunnel(p)
		w.settle()
		stopped := make(chan bool)
		go func() {
			w.counting.close()
			close(stopped)
		}()
		if err := <-done; !errors.Is(err, errOperationGone) {
			t.Errorf("a tunnel at the stop: %v", err)
		}
		w.answer(given)
		<-stopped
		if w.prove("web-once"); w.count("web-once") != 2 || w.proofs.counts.lost.Load() != 1 {
			t.Errorf("%d executed, %d lost", w.count("web-once"), w.proofs.counts.lost.Load())
		}
	})
}

// TestTunnelsOfAClientThatStartsOver: exchanges of which a tunnel can come have a use each,
// also if the client starts over while etcd counts the first one. Command and tunnel of
// an exchange have one use.
func TestTunnelsOfAClientThatStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCountingWorld(t, &slowFleet{used: map[state.UseKey]uint32{}})
		var exchanges []carriedtable.Proof
		for range 2 {
			p := carriedtable.Proof{Proof: w.of["web-once"].grant, Address: self4, Counted: new(atomic.Bool)}
			w.executeProofs([]proof{{p.Proof, self4, p.Counted}})
			exchanges = append(exchanges, p)
			w.settle()
		}
		w.answer(given)
		if n := w.count("web-once"); n != 1 || w.proofs.counts.superseded.Load() != 1 {
			t.Errorf("%d executed, %d superseded", n, w.proofs.counts.superseded.Load())
		}
		let := func(p carriedtable.Proof) error {
			done := make(chan error, 1)
			go func() {
				_, err := w.letIn(p, self4, nil)
				done <- err
			}()
			w.answer(given)
			return <-done
		}
		for i, p := range exchanges {
			if err := let(p); err != nil {
				t.Errorf("the tunnel of exchange %d: %v", i, err)
			}
			// The command of the second one was executed before.
			if n := w.fleet.used[w.of["web-once"].limit().key]; n != 2 {
				t.Errorf("%d uses counted for two exchanges, after the tunnel of exchange %d", n, i)
			}
		}
		w.counting.close()
	})
}

// TestGapWhileCounting: a gap that is noticed while etcd answers gives no use, and what is
// counted after it stays unknown until a reset.
func TestGapWhileCounting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCountingWorld(t, &slowFleet{used: map[state.UseKey]uint32{}})
		k := w.of["ssh-once"].limit().key
		w.uses.configure([]state.UseKey{k})
		w.prove("ssh-once")
		w.settle()
		w.uses.lose(func(err error) { t.Error(err) })
		w.answer(given)
		if w.count("ssh-once") != 0 || !w.uses.use(k).Unknown || w.uses.uncertain.Load() {
			t.Errorf("%d executed, %+v", w.count("ssh-once"), w.uses.use(k))
		}
		if err := w.uses.reset(k); err != nil {
			t.Fatal(err)
		}
		w.prove("ssh-once")
		if w.answer(given); w.count("ssh-once") != 1 {
			t.Error("after the reset: not executed")
		}
	})
}

// countingStep is a step of TestCountingAgainstAModel; what it does with n depends on its kind.
type countingStep struct {
	kind, n int
	how     etcdAnswer
}

const (
	stepProves  = iota // a client proves an operation
	stepAnswers        // etcd answers a request
	stepCloses         // a closing attempt of Alice
	stepReloads        // an operation gets another secret, so that earlier exchanges are void
)

// TestCountingAgainstAModel: with any commands while etcd is asked, and any answers of it, no
// operation is executed more often than etcd counts, and no proof that a later command has
// replaced or closed. If nothing fails and nothing is dropped, each use that is counted is
// executed.
func TestCountingAgainstAModel(t *testing.T) {
	step := rapid.Custom(func(t *rapid.T) countingStep {
		return countingStep{
			rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, stepAnswers, stepAnswers, stepCloses, stepReloads}).Draw(t, "kind"),
			rapid.IntRange(0, 99).Draw(t, "n"), rapid.SampledFrom([]etcdAnswer{given, given, given, given, failed, unknown}).Draw(t, "how"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(step, 1, 60).Draw(rt, "steps")
		// rapid stops a check by a panic, so the bubble only reports.
		var fault string
		synctest.Test(t, func(t *testing.T) { fault = runCounting(t, steps) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

func runCounting(t *testing.T, steps []countingStep) (fault string) {
	w := newCountingWorld(t, &slowFleet{used: map[state.UseKey]uint32{}})
	all := slices.Sorted(maps.Keys(w.of))
	alice := wire.Identifier([]byte("alic"))
	over := map[netip.Addr]bool{} // their commands must not be executed from now on
	newest, waits := map[slot]netip.Addr{}, map[netip.Addr]string{}
	lossless := true
	done := func(a netip.Addr) bool {
		return slices.ContainsFunc(w.executed, func(c command) bool { return c.Grant.Address == a })
	}
	for _, s := range steps {
		executed := len(w.executed)
		switch s.kind {
		case stepAnswers:
			if len(w.fleet.asks) > 0 {
				w.fleet.asks[s.n%len(w.fleet.asks)].answer <- s.how
				lossless = lossless && s.how == given
			}
		case stepCloses:
			w.dropWaiting(func(c command) bool {
				mine := c.at.client == alice
				over[c.Grant.Address] = over[c.Grant.Address] || mine
				return mine
			})
			lossless = false
		case stepReloads:
			id := all[s.n%len(all)]
			next := *w.operations.Load()
			next.byID = maps.Clone(next.byID)
			o := newProof(t, id, w.of[id].Client, w.of[id].Service)
			o.Uses, o.Close, o.secrets, o.prefixLen4 = w.of[id].Uses, w.of[id].Close, w.of[id].secrets, w.of[id].prefixLen4
			w.of[id], next.byID[id] = o, o.operation
			w.operations.Store(&next)
			for _, of := range w.counting.of {
				for _, p := range slices.Concat(of.waiting, of.asked) {
					over[p.command.Grant.Address] = over[p.command.Grant.Address] || p.command.operation == id
				}
			}
			lossless = false
		default:
			id := all[s.n%len(all)]
			o, from := w.of[id], w.last.Next()
			w.last = from
			for a, of := range waits {
				// One peer has all addresses of the test.
				if o.Close && w.of[of].Client == o.Client && w.of[of].Service == o.Service && !done(a) {
					over[a], lossless = true, false
				}
			}
			waits[from] = id
			at := o.slot(proof{o.grant, from, nil})
			if old, ok := newest[at]; ok && old != from && !done(old) {
				over[old] = true
				lossless = lossless && o.Uses > 0
			}
			newest[at] = from
			if w.proveFrom(id, from); o.Uses == 0 && len(w.executed) != executed+1 {
				return id + " waits"
			}
			executed = len(w.executed)
		}
		w.settle()
		for _, c := range w.executed[executed:] {
			if over[c.Grant.Address] {
				return fmt.Sprintf("%s is executed for %v, which was closed or replaced", c.operation, c.Grant.Address)
			}
		}
	}
	w.answer(given)
	if w.counting.close(); len(w.counting.of) != 0 {
		return fmt.Sprintf("%d operations are still counted", len(w.counting.of))
	}
	for id, o := range w.of {
		used, n := int(w.fleet.used[o.limit().key]), w.count(id)
		if o.Uses > 0 && (n > used || used > countingLimit || lossless && n != used) {
			return fmt.Sprintf("%s: %d executed, %d counted; nothing failed: %t", id, n, used, lossless)
		}
	}
	return ""
}

// TestCountingIsBounded: of one operation, a bounded number of addresses waits.
func TestCountingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCountingWorld(t, &slowFleet{used: map[state.UseKey]uint32{}})
		w.prove("all-once")
		w.settle() // it is asked for
		for range proofsPerOperation + 7 {
			w.prove("all-once")
		}
		if n := w.proofs.counts.lost.Load(); n != 7 {
			t.Errorf("%d lost, want 7", n)
		}
		w.answer(given)
		if n := w.count("all-once"); n != countingLimit {
			t.Errorf("%d executed", n)
		}
	})
}
