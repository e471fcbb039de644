package program

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/gate"
)

// fakes is a Starter whose programs a test controls.
type fakes struct {
	gone chan struct{}

	mu       sync.Mutex
	behaves  behaviour // of the next runs
	runs     []*fake
	starts   []time.Time
	onStart  func(Request) // called with the lock held
	onOver   func(*fake)   // called with the lock held
	live     int
	violated string
}

// behaviour is how a program behaves.
type behaviour struct {
	fails       error         // Start fails
	acceptAfter time.Duration // negative: never
	dieAfter    time.Duration // 0: never
	code        error         // if it dies
	stopTime    time.Duration // from Stop to the end
}

// fake is a run.
type fake struct {
	of      *fakes
	request Request
	behaviour
	began   time.Time
	done    chan struct{}
	stop    sync.Once
	end     sync.Once
	err     error
	stopped chan struct{}
}

func newFakes() *fakes { return &fakes{gone: make(chan struct{})} }

func (f *fakes) Gone(ID) <-chan struct{} { return f.gone }

func (f *fakes) Start(r Request) (Run, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, time.Now())
	if f.onStart != nil {
		f.onStart(r)
	}
	if isClosed(f.gone) {
		return nil, ErrLost
	}
	if f.behaves.fails != nil {
		return nil, f.behaves.fails
	}
	run := &fake{of: f, request: r, behaviour: f.behaves, began: time.Now(), done: make(chan struct{}), stopped: make(chan struct{})}
	f.live++
	f.runs = append(f.runs, run)
	go run.live()
	return run, nil
}

func (r *fake) live() {
	var dies <-chan time.Time
	if r.dieAfter > 0 {
		dies = time.After(r.dieAfter)
	}
	select {
	case <-dies:
		r.over(r.code)
	case <-r.of.gone:
		r.over(ErrLost)
	case <-r.stopped:
		if r.stopTime > 0 {
			time.Sleep(r.stopTime)
		}
		r.over(errors.New("signal: terminated"))
	case <-r.done:
	}
}

// over ends the run.
func (r *fake) over(err error) {
	r.end.Do(func() {
		r.of.mu.Lock()
		defer r.of.mu.Unlock()
		r.of.live--
		r.err = err
		if r.of.onOver != nil {
			r.of.onOver(r)
		}
		close(r.done)
	})
}

func (r *fake) Stop()                 { r.stop.Do(func() { close(r.stopped) }) }
func (r *fake) Done() <-chan struct{} { return r.done }
func (r *fake) Err() error            { return r.err }

// accepts is the probe of the run that lives.
func (f *fakes) accepts(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.runs {
		if !isClosed(r.done) && r.acceptAfter >= 0 && time.Since(r.began) >= r.acceptAfter {
			return nil
		}
	}
	return errors.New("connection refused")
}

func (f *fakes) behave(b behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behaves = b
}

func (f *fakes) last() *fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs[len(f.runs)-1]
}

func (f *fakes) count() (starts, live int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.starts), f.live
}

// backendTest is a Backend that runs, in a bubble.
type backendTest struct {
	*Backend
	*fakes
	stop context.CancelFunc
	over chan struct{}

	mu    sync.Mutex
	state error
}

func (b *backendTest) ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

func newBackendTest(b behaviour) *backendTest {
	t := &backendTest{fakes: newFakes(), state: gate.ErrIdle, over: make(chan struct{})}
	t.behaves = b
	t.Backend = NewBackend(BackendConfig{
		Program: ID{"site", Server}, Starter: t.fakes, Accepts: t.accepts,
		StartWithin: 10 * time.Second, StopAfter: 5 * time.Second, Log: slog.New(slog.DiscardHandler),
	})
	t.Watch(func(err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.state = err
	})
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	go func() {
		defer close(t.over)
		t.Run(ctx)
	}()
	return t
}

// pass lets time pass, and all goroutines do what they can.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestProgramRunsWhileNeeded: it is started once, is ready when it accepts, and stops
// after the last need; a need while it stops starts it after that.
func TestProgramRunsWhileNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackendTest(behaviour{acceptAfter: 2 * time.Second, stopTime: 3 * time.Second})
		pass(time.Hour)
		if n, _ := b.count(); n != 0 || b.ready() != gate.ErrIdle {
			t.Errorf("not needed: %d starts, %v", n, b.ready())
		}
		b.Need(true)
		b.Need(true)
		pass(time.Second)
		if n, live := b.count(); n != 1 || live != 1 || !errors.Is(b.ready(), errStarting) {
			t.Errorf("starting: %d starts, %v", n, b.ready())
		}
		pass(2 * time.Second)
		if b.ready() != nil {
			t.Errorf("accepting: %v", b.ready())
		}
		b.Need(false)
		pass(time.Second)
		if _, live := b.count(); live != 1 || b.ready() != gate.ErrIdle {
			t.Errorf("stopping: %v", b.ready())
		}
		b.Need(true)
		pass(time.Second)
		if n, live := b.count(); n != 1 || live != 1 || !errors.Is(b.ready(), errStarting) {
			t.Errorf("needed while it stops: %d starts, %d live, %v", n, live, b.ready())
		}
		pass(5 * time.Second)
		if n, live := b.count(); n != 2 || live != 1 || b.ready() != nil {
			t.Errorf("started again: %d starts, %d live, %v", n, live, b.ready())
		}
		b.stop()
		<-b.over
		if _, live := b.count(); live != 0 || b.ready() != gate.ErrIdle {
			t.Errorf("after the end: %d live, %v", live, b.ready())
		}
	})
}

// TestProgramThatDies: the service is closed before the next start, and the pause grows
// to its bound; a steady program begins again with the first one.
func TestProgramThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackendTest(behaviour{dieAfter: time.Second, code: errors.New("exit code 1")})
		readyAtStart := false
		b.onStart = func(Request) { readyAtStart = readyAtStart || b.ready() == nil }
		b.Need(true)
		pass(time.Hour)
		n, _ := b.count()
		if readyAtStart || n < 50 || n > 75 {
			t.Errorf("%d starts in an hour, ready at one: %v", n, readyAtStart)
		}
		for i := range min(7, n-1) {
			gap := b.starts[i+1].Sub(b.starts[i])
			if want := time.Second + min(time.Second<<i, maxRestart); gap < want || gap > want+100*time.Millisecond {
				t.Errorf("pause %d: %s, want %s", i, gap, want)
			}
		}
		b.behave(behaviour{})
		pass(5 * time.Minute)
		if b.ready() != nil {
			t.Fatal(b.ready())
		}
		n, _ = b.count()
		b.last().over(nil)
		synctest.Wait()
		if b.ready() == nil {
			t.Error("ready without a program")
		}
		pass(minRestart)
		pass(time.Second)
		if again, _ := b.count(); again != n+1 || b.ready() != nil {
			t.Errorf("after a steady run: %d starts, %v", again-n, b.ready())
		}
		b.stop()
		<-b.over
	})
}

// TestProgramThatNeverAccepts is stopped after its time, and started again later; so is
// one that cannot be started.
func TestProgramThatNeverAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackendTest(behaviour{acceptAfter: -1, stopTime: 5 * time.Second})
		b.Need(true)
		pass(11 * time.Second)
		_, live := b.count()
		why := b.ready()
		if live != 1 || !errors.Is(why, errTooSlow) || !strings.Contains(why.Error(), "connection refused") {
			t.Errorf("too slow: %v", why)
		}
		pass(4500 * time.Millisecond)
		if _, live := b.count(); live != 0 {
			t.Error("it has not ended")
		}
		b.behave(behaviour{fails: errors.New("too many open files")})
		pass(time.Second)
		if n, _ := b.count(); n != 2 || b.ready() == nil {
			t.Errorf("%d starts, %v", n, b.ready())
		}
		b.behave(behaviour{})
		if pass(10 * time.Second); b.ready() != nil {
			t.Errorf("started: %v", b.ready())
		}
		b.stop()
		<-b.over
	})
}

// TestProgramThatStopsAccepting: the service is closed until it accepts again; it keeps
// running.
func TestProgramThatStopsAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackendTest(behaviour{})
		b.Need(true)
		pass(time.Second)
		b.fakes.mu.Lock()
		b.runs[0].acceptAfter = -1
		b.fakes.mu.Unlock()
		pass(2 * checkPause)
		if n, live := b.count(); n != 1 || live != 1 || !errors.Is(b.ready(), errAccepting) {
			t.Errorf("closed its port: %d starts, %v", n, b.ready())
		}
		b.fakes.mu.Lock()
		b.runs[0].acceptAfter = 0
		b.fakes.mu.Unlock()
		if pass(time.Second); b.ready() != nil {
			t.Errorf("accepts again: %v", b.ready())
		}
		b.stop()
		<-b.over
	})
}

// TestRunnerLost: nothing starts, and the service stays closed, needed or not.
func TestRunnerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackendTest(behaviour{})
		b.Need(true)
		pass(time.Second)
		close(b.gone)
		pass(time.Minute)
		if n, live := b.count(); n != 1 || live != 0 || b.ready() != ErrLost {
			t.Errorf("lost: %d starts, %d live, %v", n, live, b.ready())
		}
		b.Need(false)
		if pass(time.Minute); b.ready() != ErrLost {
			t.Errorf("not needed: %v", b.ready())
		}
		b.stop()
		<-b.over
	})
}

// TestProgramThatDoesNotStop: Run returns all the same, some time after SIGKILL.
func TestProgramThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackendTest(behaviour{stopTime: time.Hour})
		b.Need(true)
		pass(time.Second)
		began := time.Now()
		b.stop()
		<-b.over
		if took := time.Since(began); took != 5*time.Second+stopMargin {
			t.Errorf("Run took %s to end", took)
		}
		time.Sleep(time.Hour)
	})
}

// TestBackendAgainstAnyProgram: whatever the program and the leases do, there is one run
// at a time, the service is ready only while a run accepts, and no start follows another
// too soon.
func TestBackendAgainstAnyProgram(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			seconds := func(name string, low, high int) time.Duration {
				return time.Duration(rapid.IntRange(low, high).Draw(rt, name)) * time.Second
			}
			drawn := func() behaviour {
				b := behaviour{acceptAfter: seconds("accepts", -1, 12), dieAfter: seconds("dies", 0, 30), stopTime: seconds("stops", 0, 5)}
				if rapid.IntRange(0, 5).Draw(rt, "cannot start") == 0 {
					b.fails = errors.New("no")
				}
				return b
			}
			b := newBackendTest(drawn())
			b.onStart = func(Request) {
				if b.live > 0 {
					b.violated = "a second run"
				}
				if b.ready() == nil {
					b.violated = "ready at the start"
				}
			}
			needed, lost := false, false
			for range rapid.IntRange(1, 25).Draw(rt, "steps") {
				switch rapid.IntRange(0, 9).Draw(rt, "step") {
				case 0, 1, 2:
					needed = !needed
					b.Need(needed)
				case 3:
					b.behave(drawn())
				case 4:
					if rapid.IntRange(0, 3).Draw(rt, "lost") == 0 && !lost {
						lost = true
						close(b.gone)
					}
				default:
					time.Sleep(time.Duration(rapid.IntRange(0, 40_000).Draw(rt, "pass")) * time.Millisecond)
				}
				synctest.Wait()
				if b.ready() == nil {
					if b.accepts(t.Context()) != nil || !needed || lost {
						rt.Fatalf("ready; needed %v, lost %v", needed, lost)
					}
				}
				if b.violated != "" {
					rt.Fatal(b.violated)
				}
			}
			for i := range b.starts[:max(len(b.starts)-1, 0)] {
				if gap := b.starts[i+1].Sub(b.starts[i]); gap < minRestart {
					rt.Fatalf("started again after %s", gap)
				}
			}
			// A good program is ready in the end.
			b.behave(behaviour{})
			b.Need(true)
			if pass(maxRestart + 50*time.Second); !lost {
				if pass(time.Minute); b.ready() != nil {
					rt.Fatalf("a good program: %v", b.ready())
				}
			}
			b.stop()
			<-b.over
			if _, live := b.count(); live != 0 {
				rt.Fatal("a run is left")
			}
		})
	})
}
