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
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
)

// TestStepsOfTheWallClock: steps of the wall clock change no lease.
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

// TestSuspendedListener: when the host resumes, the enforcer admits no peer
// whose lease has ended, and the listener closes within a second.
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

// TestClosedOnResume: when the host resumes, leases end without waiting for a
// timer.
func TestClosedOnResume(t *testing.T) {
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

// TestPauseBefore: the check that ends a lease is neither late nor early.
func TestPauseBefore(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		-time.Hour: minPause, 0: minPause, time.Millisecond: minPause, 300 * time.Millisecond: 300 * time.Millisecond,
		time.Second: time.Second, time.Second + 3*time.Millisecond: 993 * time.Millisecond, time.Hour: maxPause,
	} {
		if got := pauseBefore(left); got != want {
			t.Errorf("%s before the end: %s, want %s", left, got, want)
		}
	}
}

// TestSuspendedFlow: a flow ends when the host resumes.
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
	answered(t, "within the lease", udpClient(t, "127.0.0.1", address))
	host.Suspend(2 * time.Hour)
	netns.Until(t, "flow and socket end", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.conn == nil && d.relay.Flows() == 0
	})
}

// fakeFirewall records the admitted peers.
type fakeFirewall struct {
	mu sync.Mutex
	in map[access.Peer]bool
}

func (w *fakeFirewall) Apply(changes []access.Change) []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range changes {
		if w.in[c.Peer] = true; c.Revokes() {
			delete(w.in, c.Peer)
		}
	}
	return nil
}

func (*fakeFirewall) OpenKnockPorts([]uint16, time.Duration) error { return nil }

func (*fakeFirewall) SetSilence(*firewall.Silence) error { return nil }

func (*fakeFirewall) SetTrusted(map[access.ServiceID]firewall.Trusted) error { return nil }

func (*fakeFirewall) Disconnect([]access.Change) error { return nil }

func (*fakeFirewall) Close() error { return nil }

func (w *fakeFirewall) has(a string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.in[peer(a)]
}

// TestSuspendedFirewall: when the host resumes, the service closes the firewall
// for peers whose leases have ended: the kernel would still admit them.
func TestSuspendedFirewall(t *testing.T) {
	t.Parallel()
	host := clocktest.NewHost()
	wall := &fakeFirewall{in: map[access.Peer]bool{}}
	policy := holder.Policy{Services: []holder.Service{{ID: access.ID("ssh"), Name: "ssh", OpenMax: time.Hour, PrefixLen6: 128}}}
	client, ended := holdertest.Start(t, holder.Config{Policy: policy, Claim: holder.Claimed(wall), Clock: host.Clock()})
	defer holdertest.Stop(t, client, ended)
	s := NewService(ServiceConfig{
		Name: "ssh", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8},
		Enforcers: []access.Enforcer{holder.NewEnforcer(client)}, Clock: host.Clock(), Log: slog.New(slog.DiscardHandler),
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

// running returns a service that runs as long as the test.
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
