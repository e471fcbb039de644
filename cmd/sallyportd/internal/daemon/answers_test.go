package daemon

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/access"
	"sallyport/verify/challenge/exchange"
)

// recorded is an enforcer that records what it admits.
type recorded struct {
	t        *testing.T
	admitted map[access.Peer]time.Time
	fail     error // of changes that admit
}

func (r *recorded) Apply(changes []access.Change) []error {
	seen := map[access.Peer]bool{}
	for _, c := range changes {
		if c.Service != access.ID(config.AnswersName) || seen[c.Peer] {
			r.t.Errorf("change of another service, or the second one for a peer: %+v", c)
		}
		seen[c.Peer] = true
		if r.fail != nil && !c.Revokes() {
			continue
		}
		r.admitted[c.Peer] = c.Until
		if c.Revokes() {
			delete(r.admitted, c.Peer)
		}
	}
	if r.fail != nil {
		return access.Failed(changes, r.fail)
	}
	return nil
}

func (r *recorded) Close() error { return nil }

func testAnswers(t *testing.T) (*answers, *recorded, *clocktest.Host) {
	host := clocktest.NewHost()
	cfg := &config.Config{Challenge: &config.Challenge{Answers: &config.Answers{Port: 30720}}}
	a := newAnswers(cfg, nil, Env{Clock: host.Clock(), Log: slog.New(slog.DiscardHandler)})
	r := &recorded{t: t, admitted: map[access.Peer]time.Time{}}
	a.enforcers, a.bound = []access.Enforcer{r}, true
	return a, r, host
}

func (a *answers) applyAt(now time.Time) { a.apply(a.changes(now)) }

func from(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), uint16(1024+i))
}

// TestAnswersOpenForTheirAddress: the port opens for an address while a challenge waits
// for it, and no longer.
func TestAnswersOpenForTheirAddress(t *testing.T) {
	a, r, host := testAnswers(t)
	now := a.clock.Boot()
	if err := a.put(from(1), []byte("one")); err != nil {
		t.Fatal(err)
	}
	a.applyAt(now)
	peer := access.PeerOf(from(1).Addr(), access.PrefixHost)
	// This clock runs.
	until, latest := r.admitted[peer], a.clock.Boot().Add(config.AnswerTime)
	if len(r.admitted) != 1 || until.Before(now.Add(config.AnswerTime)) || until.After(latest) {
		t.Fatalf("admitted %v", r.admitted)
	}
	if got, _ := a.message(from(2)); got != nil {
		t.Errorf("another address got %q", got)
	}
	host.Pass(config.AnswerTime / 2)
	a.put(netip.AddrPortFrom(from(1).Addr(), 7), []byte("seven"))
	a.applyAt(a.clock.Boot())
	if got, _ := a.message(from(1)); string(got) != "\x02\x03one\x05seven" {
		t.Errorf("got %q", got)
	}
	if got, _ := a.message(netip.AddrPortFrom(from(1).Addr(), 7)); string(got) != "\x02\x05seven\x03one" {
		t.Errorf("from the port of the second request: %q", got)
	}
	// The client has taken the second one.
	_, ids := a.message(from(1))
	a.remove(from(1), ids[1])
	if got, _ := a.message(from(1)); string(got) != "\x01\x03one" {
		t.Errorf("after the other one was taken: %q", got)
	}
	a.put(netip.AddrPortFrom(from(1).Addr(), 7), []byte("seven"))
	a.applyAt(a.clock.Boot())
	host.Pass(config.AnswerTime / 2)
	if got, _ := a.message(from(1)); string(got) != "\x01\x05seven" {
		t.Errorf("after the time of the first: %q", got)
	}
	host.Pass(config.AnswerTime / 2)
	a.applyAt(a.clock.Boot())
	if len(r.admitted) != 0 || a.n != 0 || len(a.waiting) != 0 {
		t.Errorf("after the time of both: %v, %d wait", r.admitted, a.n)
	}
	// One that waited longer than its time, such as over a suspension, opens nothing.
	a.put(from(3), []byte("three"))
	host.Pass(config.AnswerTime)
	a.applyAt(a.clock.Boot())
	if len(r.admitted) != 0 || a.n != 0 {
		t.Errorf("too late: %v", r.admitted)
	}
}

// TestAnswersNeedTheFirewall: the port does not open without it, and closes.
func TestAnswersNeedTheFirewall(t *testing.T) {
	a, port, host := testAnswers(t)
	wall := &recorded{t: t, admitted: map[access.Peer]time.Time{}}
	a.enforcers = []access.Enforcer{wall, port}
	a.put(from(1), []byte("one"))
	a.applyAt(a.clock.Boot())
	wall.fail = errors.New("the holder is gone")
	a.put(from(2), []byte("two"))
	a.applyAt(a.clock.Boot())
	if len(port.admitted) != 1 || len(wall.admitted) != 1 {
		t.Errorf("without the firewall: the port admits %v", port.admitted)
	}
	host.Pass(config.AnswerTime)
	a.applyAt(a.clock.Boot())
	if len(port.admitted) != 0 {
		t.Errorf("after the time: the port admits %v", port.admitted)
	}
}

// TestAnswersAreBounded, in all and for an address.
func TestAnswersAreBounded(t *testing.T) {
	a, _, _ := testAnswers(t)
	long := make([]byte, exchange.MaxChallenge)
	for range 2 * answersOfAddress {
		if err := a.put(from(0), long); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := a.message(from(0))
	if a.n != answersOfAddress || int(got[0]) != answersOfAddress || len(got) != 1+answersOfAddress*(1+len(long)) {
		t.Errorf("%d wait, and %d bytes", a.n, len(got))
	}
	for i := 1; i <= maxAnswers-answersOfAddress; i++ {
		if err := a.put(from(i), nil); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if err := a.put(from(1), []byte("x")); !errors.Is(err, errTooManyAnswers) {
		t.Errorf("beyond the limit: %v", err)
	}
	a.bound = false
	if err := a.put(from(1), []byte("x")); !errors.Is(err, errNoAnswerPort) {
		t.Errorf("without the port: %v", err)
	}
}

// TestAnswersKeepUpWithTheRate: the limit of challenges a second, with the reserve for
// known addresses, does not fill the room, and strangers cannot open the filter.
func TestAnswersKeepUpWithTheRate(t *testing.T) {
	const rate = config.MaxAnswerRate + config.MaxAnswerRate/4
	const burst = rate / 10
	if most := burst + rate*float64(config.AnswerTime+closeDelay)/float64(time.Second); most > maxAnswers {
		t.Errorf("%v challenges can wait, and there is room for %d", most, maxAnswers)
	}
}
