package gate

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/helper"
	"sallyport/sessions/gate/helper/helpertest"
)

// TestStepsOfTheWallClock change no lease.
func TestStepsOfTheWallClock(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		bubble(t, false, func(t *testing.T, s stage) {
			s.gate.Open(grant("com1", "192.0.2.1"))
			s.host.Step(step)
			time.Sleep(10*time.Second - 1)
			synctest.Wait()
			if c := s.net.dial("192.0.2.1"); c == nil || get(c, "/test1.html") != 200 {
				t.Errorf("stepped by %s: not served within the lease", step)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if s.net.listening.Load() {
				t.Errorf("stepped by %s: open after the lease", step)
			}
		})
	}
}

// TestSuspendedListener lets nobody in whose lease is over when the host wakes,
// and is closed within a second.
func TestSuspendedListener(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		s.gate.Open(grant("com1", "192.0.2.1"))
		c := s.net.dial("192.0.2.1")
		if got := get(c, "/test1.html"); got != 200 {
			t.Fatalf("within the lease: %d", got)
		}
		time.Sleep(1500 * time.Millisecond)
		s.host.Suspend(8 * time.Second)
		time.Sleep(500*time.Millisecond - 1)
		synctest.Wait()
		if got := get(c, "/test1.html"); got != 200 {
			t.Errorf("suspended for less than the lease: %d", got)
		}
		s.host.Suspend(time.Hour)
		if late := s.net.dial("192.0.2.1"); get(late, "/test1.html") != 0 {
			t.Error("a new connection after the lease, at once")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s.net.listening.Load() {
			t.Error("open a second after waking")
		}
		if got := get(c, "/test1.html"); got != 0 {
			t.Errorf("a running connection a second after waking: %d", got)
		}
	})
}

// TestClosedAtOnce: when the host wakes, nothing waits for a timer.
func TestClosedAtOnce(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		s.gate.Open(grant("com1", "192.0.2.1"))
		synctest.Wait()
		if !s.net.listening.Load() {
			t.Fatal("not open")
		}
		s.host.Suspend(time.Hour)
		synctest.Wait() // no time passes
		if s.net.listening.Load() {
			t.Error("open after waking")
		}
	})
}

// TestPauseBefore: the look that ends a lease is neither late nor too soon.
func TestPauseBefore(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		-time.Hour: sweepPause, 0: sweepPause, time.Millisecond: sweepPause, 300 * time.Millisecond: 300 * time.Millisecond,
		time.Second: time.Second, time.Second + 3*time.Millisecond: 993 * time.Millisecond, time.Hour: lookPause,
	} {
		if got := pauseBefore(left); got != want {
			t.Errorf("%s before the end: %s, want %s", left, got, want)
		}
	}
}

// TestSuspendedFlow ends when the host wakes.
func TestSuspendedFlow(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	host := clocktest.NewHost()
	s, d, address := udpStage(t, LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Cut: true, Addresses: 8}, time.Minute, host.Clock())
	running(t, s)
	if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	answered(t, "within the lease", talker(t, "127.0.0.1", address))
	host.Suspend(2 * time.Hour)
	netns.Until(t, "flow and socket end", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.conn == nil && d.relay.Flows() == 0
	})
}

// pretendedWall remembers whom it lets in.
type pretendedWall struct {
	mu sync.Mutex
	in map[access.Peer]bool
}

func (w *pretendedWall) Apply(changes []access.Change) []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range changes {
		if w.in[c.Peer] = true; c.Revokes() {
			delete(w.in, c.Peer)
		}
	}
	return nil
}

func (*pretendedWall) OpenKnockPorts([]uint16, time.Duration) error { return nil }

func (*pretendedWall) Disconnect([]access.Change) error { return nil }

func (*pretendedWall) Close() error { return nil }

func (w *pretendedWall) has(a string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.in[peer(a)]
}

// TestSuspendedFirewall is told to close when the host wakes: the kernel would
// still let in those whose leases are over.
func TestSuspendedFirewall(t *testing.T) {
	t.Parallel()
	host := clocktest.NewHost()
	wall := &pretendedWall{in: map[access.Peer]bool{}}
	policy := helper.Policy{Services: []helper.Service{{ID: access.ID("ssh"), Name: "ssh", OpenMax: time.Hour, PrefixLen6: 128}}}
	client, ended := helpertest.Start(t, helper.Config{Policy: policy, Claim: helper.Claimed(wall), Clock: host.Clock()})
	defer helpertest.Stop(t, client, ended)
	s := NewService(ServiceConfig{
		Name: "ssh", PrefixLen6: 128, Terms: LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8},
		Enforcers: []access.Enforcer{helper.NewEnforcer(client)}, Clock: host.Clock(), Log: slog.New(slog.DiscardHandler),
	})
	running(t, s)
	if err := s.Open(grant("com1", "192.0.2.1")); err != nil || !wall.has("192.0.2.1") {
		t.Fatalf("not open: %v", err)
	}
	host.Step(2 * time.Hour)
	s.sweep()
	if !wall.has("192.0.2.1") {
		t.Error("closed by a step of the wall clock")
	}
	host.Suspend(2 * time.Hour)
	netns.Until(t, "the firewall is closed", func() bool { return !wall.has("192.0.2.1") })
}

// running is a service that runs as long as the test.
func running(t *testing.T, s *Service) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
