package holder_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
	"sallyport/verify/schedule"
)

// TestOtherConfiguration: the processes cannot know which configuration is
// right, and the firewall stays untouched.
func TestOtherConfiguration(t *testing.T) {
	var f fakeFirewall
	c, done := serve(t, &f, running)
	err := c.Begin(t.Context(), holder.Digest{2})
	if !errors.Is(err, holder.ErrOtherConfiguration) || !strings.Contains(err.Error(), "expected the digest 0200") {
		t.Errorf("got %v", err)
	}
	if e := <-done; e.Orderly || f.closed != 0 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
	err = one(holder.NewEnforcer(c), opens(peer("192.0.2.1"), time.Hour))
	if !errors.Is(err, holder.ErrDead) || len(f.applied) != 0 {
		t.Errorf("afterwards: %v, applied %v", err, f.applied)
	}
}

// TestFirewallUntouchedBeforeBegin: a server that cannot lock its state
// directory leaves the firewall as it is.
func TestFirewallUntouchedBeforeBegin(t *testing.T) {
	claimed := 0
	cfg := holder.Config{Policy: oneService, Digest: holder.Digest{1}, Clock: running, Claim: func() (holder.Firewall, error) {
		claimed++
		return &fakeFirewall{}, nil
	}}
	c, done := holdertest.Serve(t, cfg)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if e := <-done; e.Orderly || e.Err != nil || claimed != 0 {
		t.Errorf("ended %+v, claimed %d times", e, claimed)
	}
	c, done = holdertest.Serve(t, cfg)
	if err := c.OpenKnockPorts([]uint16{2000}, time.Second); !errors.Is(err, holder.ErrRefused) {
		t.Errorf("before it begins: %v", err)
	}
	if e := <-done; claimed != 0 {
		t.Errorf("ended %+v, claimed %d times", e, claimed)
	}
	// The server gets the error of Claim.
	cfg.Claim = func() (holder.Firewall, error) { return nil, errors.New("another one's table") }
	c, done = holdertest.Serve(t, cfg)
	err := c.Begin(t.Context(), holder.Digest{1})
	if err == nil || !strings.Contains(err.Error(), "another one's table") {
		t.Errorf("got %v", err)
	}
	<-done
}

// TestReplyToStop: a server that stops in order gets the reply that everything
// is closed, or why not.
func TestReplyToStop(t *testing.T) {
	f := fakeFirewall{refusesToClose: 1}
	c, done := ready(t, &f)
	if err := c.Stop(); err == nil || !strings.Contains(err.Error(), "no table") {
		t.Errorf("stopped with %v", err)
	}
	// The holder has retried since.
	if e := <-done; e.Orderly || e.Err == nil || f.closed != 2 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
	f = fakeFirewall{}
	exits := 0
	c, done = holdertest.Serve(t, holder.Config{Policy: oneService, Digest: holder.Digest{1}, Claim: holder.Claimed(&f), Clock: running, Exit: func() error {
		if exits++; f.closed != 1 {
			t.Error("the exit came before the end")
		}
		return nil
	}})
	if err := errors.Join(c.Begin(t.Context(), holder.Digest{1}), c.Stop()); err != nil {
		t.Error(err)
	}
	if e := <-done; !e.Orderly || exits != 1 {
		t.Errorf("ended %+v, %d exits", e, exits)
	}
}

// TestScheduleIsRead: the holder reads the schedule of the knock ports when the
// server begins, and when it reloads.
func TestScheduleIsRead(t *testing.T) {
	var f fakeFirewall
	port, later, reads := uint16(2000), uint16(0), 0
	c, done := holdertest.Serve(t, holder.Config{Policy: oneService, Digest: holder.Digest{1}, Claim: holder.Claimed(&f), Clock: running, Log: slog.New(slog.DiscardHandler), Schedule: func() (holder.Schedule, error) {
		reads++
		if port == 0 {
			return holder.Schedule{}, errors.New("no secret")
		}
		p := port
		trusted := map[access.ServiceID]firewall.Trusted{ssh: {Interfaces: []string{fmt.Sprintf("eth%d", p+later)}}}
		return holder.Schedule{Tolerance: time.Minute, Trusted: trusted, Ports: func(schedule.Minute) ([][]uint16, error) { return [][]uint16{{p}}, nil }}, nil
	}})
	if err := c.Begin(t.Context(), holder.Digest{1}); err != nil {
		t.Fatal(err)
	}
	may := func(when string, want map[uint16]bool) {
		t.Helper()
		for p, ok := range want {
			if err := c.OpenKnockPorts([]uint16{p}, time.Second); (err == nil) != ok {
				t.Errorf("%s: port %d: %v", when, p, err)
			}
		}
	}
	trusts := func(when, name string) {
		t.Helper()
		if got := f.trusted[ssh].Interfaces; len(got) != 1 || got[0] != name {
			t.Errorf("%s: it trusts %q, want %s", when, got, name)
		}
	}
	trusts("at first", "eth2000")
	port = 3000
	may("at first", map[uint16]bool{2000: true, 3000: false})
	settle, err := c.Reread(nil)
	if err != nil {
		t.Fatal(err)
	}
	may("while it reloads", map[uint16]bool{2000: true, 3000: true})
	if err := settle(false); err != nil {
		t.Error(err)
	}
	may("after it was aborted", map[uint16]bool{2000: true, 3000: false})
	trusts("after it was aborted", "eth2000")
	if settle, err = c.Reread(nil); err != nil {
		t.Fatal(err)
	}
	if err := settle(true); err != nil {
		t.Error(err)
	}
	may("after a reload", map[uint16]bool{2000: false, 3000: true})
	trusts("after a reload", "eth3000")
	port = 4000
	if settle, err = c.Reread(nil); err != nil {
		t.Fatal(err)
	}
	f.trusts = errors.New("the kernel refuses")
	if err := settle(true); err == nil || !strings.Contains(err.Error(), "the kernel refuses") {
		t.Errorf("the holder could not change the trusted peers: %v", err)
	}
	trusts("after it has failed", "eth3000")
	f.trusts, later = nil, 1
	may("after it has failed", map[uint16]bool{3000: false, 4000: true})
	trusts("after a further request, and an edit", "eth4001")
	port = 0
	if _, err := c.Reread(nil); err == nil || !strings.Contains(err.Error(), "no secret") {
		t.Errorf("got %v", err)
	}
	may("after one that failed", map[uint16]bool{4000: true})
	if reads != 6 {
		t.Errorf("read %d times", reads)
	}
	c.Stop()
	<-done
}

func TestHolderClosesWhenTheServerDies(t *testing.T) {
	var f fakeFirewall
	c, done := ready(t, &f)
	c.Kill()
	if e := <-done; e.Orderly || e.Err != nil || f.closed != 1 {
		t.Errorf("ended %+v, closed %d times", e, f.closed)
	}
	<-c.Dead()
	if err := c.OpenKnockPorts([]uint16{2000}, time.Second); !errors.Is(err, holder.ErrDead) {
		t.Errorf("after its death: %v", err)
	}
}

func TestHolderRefusesMalformedRequests(t *testing.T) {
	var f fakeFirewall
	c, done := ready(t, &f)
	// A message that is too long is refused, not truncated.
	for name, b := range map[string][]byte{"nonsense": []byte("GET / HTTP/1.0\r\n\r\n"), "a long message": make([]byte, 2*holder.MaxRequest)} {
		if err := c.Ask(b); !errors.Is(err, holder.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(f.applied) != 0 {
		t.Errorf("applied %+v", f.applied)
	}
	c.Stop()
	<-done
}
