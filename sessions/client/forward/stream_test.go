package forward

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/client"
)

// TestOneKnock: all connections that begin during a knock wait for it, and those that
// follow while the lease is fresh cause none.
func TestOneKnock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{openFor: 30 * time.Second, takes: time.Second, rtt: 20 * time.Millisecond}
		s := serve(t, w, Config{OpenFor: 30 * time.Second}, Route{Service: ":80", Streams: listeners(l)})
		all := func(n int) {
			var done sync.WaitGroup
			for i := range n {
				c := l.connect()
				done.Go(func() {
					if err := echoes(c, fmt.Sprintf("line %d", i)); err != nil {
						t.Errorf("%d: %v", i, err)
					}
				})
			}
			done.Wait()
		}
		all(50)
		if w.count() != 1 || w.kept.Load() != 1 || w.plain.Load() != 49 {
			t.Errorf("%d knocks, %d kept, %d plain connections; want 1, 1, 49", w.count(), w.kept.Load(), w.plain.Load())
		}
		time.Sleep(20 * time.Second)
		all(3)
		if w.count() != 1 {
			t.Errorf("%d knocks while the lease is fresh", w.count())
		}
		time.Sleep(20 * time.Second)
		all(3)
		if w.count() != 2 {
			t.Errorf("%d knocks after the lease, want 2", w.count())
		}
		s.end(t)
		if f := s.failures(); len(f) > 0 {
			t.Errorf("reported %q", f)
		}
	})
}

// TestOpenedBefore: a knock of the caller has opened the service. While that lease is
// fresh, connections cause no other one: the server may not permit one.
func TestOpenedBefore(t *testing.T) {
	for age, want := range map[time.Duration]int{0: 0, 20 * time.Second: 0, 40 * time.Second: 1} {
		synctest.Test(t, func(t *testing.T) {
			l := newListener()
			w := &remote{openFor: 30 * time.Second, rtt: 20 * time.Millisecond, closed: "drop"}
			opened, err := w.knock(t.Context(), Request{Service: ":80"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(age)
			s := serve(t, w, Config{OpenFor: 30 * time.Second, Opened: opened, Age: age}, Route{Service: ":80", Streams: listeners(l)})
			if err := echoes(l.connect(), "hello"); err != nil || w.count() != 1+want {
				t.Errorf("after %s: %v, %d knocks", age, err, w.count()-1)
			}
			s.end(t)
		})
	}
}

// TestStaleLease: the service closes earlier than OpenFor, in each way. A connection
// then causes a knock, and all that was sent arrives once.
func TestStaleLease(t *testing.T) {
	for _, closed := range []string{"drop", "refuse", "reset"} {
		for _, greets := range []string{"", "welcome "} {
			t.Run(closed+greets, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newListener()
					w := &remote{openFor: 5 * time.Second, closed: closed, rtt: 20 * time.Millisecond, greets: greets}
					s := serve(t, w, Config{OpenFor: time.Hour}, Route{Service: ":80", Streams: listeners(l)})
					for i := range 3 {
						c := l.connect()
						io.WriteString(c, "text")
						c.CloseWrite()
						got, err := io.ReadAll(c)
						c.Close()
						if err != nil || string(got) != greets+"text" {
							t.Errorf("connection %d: %q, %v", i, got, err)
						}
						if w.count() != i+1 {
							t.Errorf("connection %d: %d knocks", i, w.count())
						}
						time.Sleep(time.Minute)
					}
					s.end(t)
				})
			})
		}
	}
}

// TestLongPath: over a path with a long round trip, the client learns how long a plain
// connection may take.
func TestLongPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{openFor: time.Hour, rtt: 2 * time.Second}
		s := serve(t, w, Config{OpenFor: time.Hour}, Route{Service: ":80", Streams: listeners(l)})
		for range 10 {
			if err := echoes(l.connect(), "text"); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Second)
		}
		if w.count() > 4 || w.plain.Load() < 6 {
			t.Errorf("%d knocks and %d plain connections", w.count(), w.plain.Load())
		}
		s.end(t)
	})
}

// TestProofIsOmitted: with Granted, a plain connection costs a round trip. Otherwise it
// costs another one, and some time.
func TestProofIsOmitted(t *testing.T) {
	for granted, want := range map[bool]time.Duration{true: 20 * time.Millisecond, false: 42500*time.Microsecond + proofTime} {
		synctest.Test(t, func(t *testing.T) {
			l := newListener()
			w := &remote{openFor: time.Minute, rtt: 20 * time.Millisecond}
			s := serve(t, w, Config{OpenFor: time.Minute}, Route{Service: ":80", Streams: listeners(l), Granted: granted})
			echoes(l.connect(), "first")
			begin := time.Now()
			if err := echoes(l.connect(), "second"); err != nil || time.Since(begin) != want {
				t.Errorf("granted %v: %v after %s, want %s", granted, err, time.Since(begin), want)
			}
			s.end(t)
		})
	}
}

// TestFailedKnock: the local connections are reset, the cause is reported once, and
// however many programs connect, the knocks have a pace.
func TestFailedKnock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{err: errors.New("seems offline"), takes: 50 * time.Millisecond, openFor: time.Minute}
		s := serve(t, w, Config{}, Route{Service: ":80", Streams: listeners(l)})
		const length = 60 * time.Second
		var done sync.WaitGroup
		for begin := time.Now(); time.Since(begin) < length; time.Sleep(100 * time.Millisecond) {
			c := l.connect()
			done.Go(func() {
				if _, err := io.ReadAll(c); !isReset(err) {
					t.Errorf("the local program sees %v, want a reset", err)
				}
				c.Close()
			})
		}
		done.Wait()
		if most := burst + int(length/knockPause) + 1; w.count() > most || w.count() < most/2 {
			t.Errorf("%d knocks in %s, want about %d at most", w.count(), length, most)
		}
		if f := s.failures(); len(f) != 1 || f[0] != "seems offline" {
			t.Errorf("reported %q, want it once", f)
		}
		for range 3 {
			for _, cause := range []string{"another cause", "seems offline"} {
				w.mu.Lock()
				w.err = errors.New(cause)
				w.mu.Unlock()
				io.ReadAll(l.connect())
			}
		}
		w.mu.Lock()
		w.err = nil
		w.mu.Unlock()
		if err := echoes(l.connect(), "now"); err != nil {
			t.Error(err)
		}
		s.end(t)
		if f := s.failures(); len(f) != 2 {
			t.Errorf("reported %q, want two causes", f)
		}
		if o, ok := s.events[len(s.events)-1].(Opening); !ok || o.Service.Port() != 80 {
			t.Errorf("the last event is %+v, want that the service has opened", s.events[len(s.events)-1])
		}
	})
}

// TestSameReason: errors of one reason are one cause.
func TestSameReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{}
		s := serve(t, w, Config{}, Route{Service: ":80", Streams: listeners(l)})
		for attempts := range 3 {
			w.mu.Lock()
			w.err = &client.OfflineError{Server: "gate", Attempts: attempts, Reason: client.ReasonNoAnswer}
			w.mu.Unlock()
			io.ReadAll(l.connect())
		}
		s.end(t)
		if f := s.failures(); len(f) != 1 {
			t.Errorf("reported %q, want one cause", f)
		}
	})
}

// TestScanner: a program that connects and closes at once, again and again, causes one
// knock for each lease.
func TestScanner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{openFor: 10 * time.Second, rtt: time.Millisecond}
		s := serve(t, w, Config{OpenFor: 10 * time.Second}, Route{Service: ":80", Streams: listeners(l)})
		for begin := time.Now(); time.Since(begin) < 95*time.Second; time.Sleep(10 * time.Millisecond) {
			l.connect().Close()
		}
		if w.count() > 10 {
			t.Errorf("%d knocks in 95 s, with a lease of 10 s", w.count())
		}
		s.end(t)
	})
}

// TestEach: each connection gets that of a knock, and the knocks are one after the other.
// So does each connection through a web server, which opens nothing for others.
func TestEach(t *testing.T) {
	for _, row := range []struct{ each, tunnels bool }{{true, false}, {true, true}, {false, true}} {
		testEach(t, row.each, row.tunnels)
	}
}

func testEach(t *testing.T, each, tunnels bool) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{openFor: time.Minute, takes: 100 * time.Millisecond, tunnels: tunnels}
		s := serve(t, w, Config{OpenFor: time.Minute}, Route{Service: ":80", Each: each, Streams: listeners(l)})
		var done sync.WaitGroup
		for i := range 5 {
			c := l.connect()
			done.Go(func() {
				if err := echoes(c, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		if w.count() != 5 || w.kept.Load() != 5 || w.dials.Load() != 0 {
			t.Errorf("%d knocks, %d connections of them, %d others; want 5, 5, 0", w.count(), w.kept.Load(), w.dials.Load())
		}
		for i := 1; i < len(w.began); i++ {
			// Few connections at once do not wait for the pace of knocks that serve many.
			if d := w.began[i].Sub(w.began[i-1]); d < w.takes || d >= eachPause {
				t.Errorf("knock %d began %s after the one before", i, d)
			}
		}
		s.end(t)
	})
}

// TestRoutesShareKnocks: the knock for one service opens the others too. If that one
// does not open, the others knock themselves.
func TestRoutesShareKnocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web, db := newListener(), newListener()
		w := &remote{openFor: time.Minute, takes: 500 * time.Millisecond}
		s := serve(t, w, Config{OpenFor: time.Minute}, Route{Service: ":80", Streams: listeners(web)}, Route{Service: ":5432", Streams: listeners(db)})
		a, b := web.connect(), db.connect()
		if err := errors.Join(echoes(a, "a"), echoes(b, "b")); err != nil || w.count() != 1 {
			t.Errorf("%v, %d knocks, want 1", err, w.count())
		}
		time.Sleep(2 * time.Minute)
		w.mu.Lock()
		w.takes = time.Minute // it fails slowly
		w.err = errors.New("closed")
		w.mu.Unlock()
		a = web.connect()
		synctest.Wait()
		w.mu.Lock()
		w.takes, w.err = 0, nil
		w.mu.Unlock()
		begin := time.Now()
		if err := echoes(db.connect(), "b"); err != nil || time.Since(begin) > 2*sharedTime {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		if w.count() != 3 || w.knocks[2] != ":5432" {
			t.Errorf("knocks for %q", w.knocks)
		}
		io.ReadAll(a)
		s.end(t)
	})
}

// TestConnectionsAreBounded: further connections wait until one ends.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{openFor: time.Hour}
		s := serve(t, w, Config{OpenFor: time.Hour, MaxConnections: 3}, Route{Service: ":80", Streams: listeners(l)})
		var open []*conn
		for range 4 {
			c := l.connect()
			io.WriteString(c, "x")
			open = append(open, c)
			time.Sleep(time.Second)
		}
		if got := w.kept.Load() + w.plain.Load(); got != 3 {
			t.Errorf("%d connections to the service, want 3", got)
		}
		if f := s.failures(); len(f) != 1 {
			t.Errorf("reported %q", f)
		}
		open[0].Close()
		time.Sleep(time.Second)
		if got := w.kept.Load() + w.plain.Load(); got != 4 {
			t.Errorf("after one has ended, %d connections, want 4", got)
		}
		s.end(t)
	})
}

// TestEndResets: at the end of Serve, open connections are reset on both sides.
func TestEndResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{openFor: time.Hour}
		s := serve(t, w, Config{}, Route{Service: ":80", Streams: listeners(l)})
		c := l.connect()
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		s.end(t)
		if _, err := c.Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("the local program sees %v, want a reset", err)
		}
	})
}

// TestImpossible: an error that holds for this computer ends Serve.
func TestImpossible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener()
		w := &remote{err: fmt.Errorf("knock: %w", new(client.ISNError))}
		s := &served{remote: w, done: make(chan struct{})}
		go func() {
			s.err = Serve(t.Context(), Config{Knock: w.knock}, []Route{{Streams: listeners(l), Each: true}})
			close(s.done)
		}()
		l.connect()
		<-s.done
		var isn *client.ISNError
		if !errors.As(s.err, &isn) {
			t.Errorf("got %v", s.err)
		}
	})
}
