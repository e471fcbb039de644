package client

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var memoryPlace = carrierPlace{"gate.example", "0123456789abcdef", "192.0.2.0/24"}

// chosen runs a choice whose ways work or fail, and returns those that were tried.
func chosen(t *testing.T, f CarrierFile, p carrierPlace, now time.Time, ways []Carrier, works ...Carrier) (tried []Carrier) {
	t.Helper()
	c := &choice{file: f, place: p, now: func() time.Time { return now }, report: func(Event) {}}
	for _, by := range ways {
		c.ways = append(c.ways, byWay{by, func(context.Context) (Result, error) {
			tried = append(tried, by)
			if slices.Contains(works, by) {
				return Result{Watched: true, Carrier: by}, nil
			}
			return Result{}, &OfflineError{Reason: ReasonNoAnswer}
		}})
	}
	if _, err := c.run(t.Context()); (err == nil) != (len(works) > 0) {
		t.Errorf("%v", err)
	}
	return tried
}

// TestChoiceIsRemembered: the way that has worked goes first for a bounded time, however
// often it works and whatever the clock does.
func TestChoiceIsRemembered(t *testing.T) {
	t.Parallel()
	f, start := CarrierFile{filepath.Join(t.TempDir(), "carriers")}, time.Unix(1_800_000_000, 0)
	all := []Carrier{CarrierPackets, CarrierHTTPS, CarrierDNS}
	both, web, names := all[:2], all[1:2], all[:3]
	for i, step := range []struct {
		at    time.Duration
		works []Carrier
		want  []Carrier
	}{
		{0, web, both},
		{carrierTime / 2, web, web},
		{carrierTime - time.Second, all, web},
		{carrierTime, web, both}, // success has not prolonged it
		{carrierTime + time.Hour, web, web},
		{carrierTime - time.Hour, web, both}, // the clock was set back
		{1000 * carrierTime, web, both},      // it is ahead
		{1000*carrierTime + 1, web, web},
		{0, web, both}, // and right again
		{1, web, web},
		{2, []Carrier{CarrierDNS}, []Carrier{CarrierHTTPS, CarrierPackets, CarrierDNS}}, // the filter is another one
		{3, all, []Carrier{CarrierDNS}},
		{4, nil, []Carrier{CarrierDNS, CarrierPackets, CarrierHTTPS}},
		{5, all[:1], []Carrier{CarrierDNS, CarrierPackets}}, // the filter has gone
		{6, all, all[:1]},
		{7, nil, names},
	} {
		if got := chosen(t, f, memoryPlace, start.Add(step.at), all, step.works...); !slices.Equal(got, step.want) {
			t.Errorf("step %d: tried %q, want %q", i, got, step.want)
		}
	}
	if l := f.read(); len(l) > 0 {
		t.Errorf("%+v", l)
	}
}

// TestChoicesOfTwoProfiles: two profiles of one server with other ways do not change what
// the other one has learned.
func TestChoicesOfTwoProfiles(t *testing.T) {
	t.Parallel()
	f, now := CarrierFile{filepath.Join(t.TempDir(), "carriers")}, time.Unix(1_800_000_000, 0)
	first, second := memoryPlace, memoryPlace
	a, b := []Carrier{CarrierPackets, CarrierHTTPS}, []Carrier{CarrierHTTPS, CarrierDNS}
	first.ways, second.ways = waysOf(Challenge{HTTPS: "https://a.example"}, true), waysOf(Challenge{HTTPS: "https://b.example"}, true)
	if first == second || waysOf(Challenge{}, true) == waysOf(Challenge{}, false) {
		t.Fatalf("one place: %+v", first)
	}
	for range 2 {
		chosen(t, f, first, now, a, CarrierHTTPS)
		chosen(t, f, second, now, b, CarrierHTTPS)
	}
	if got := chosen(t, f, first, now, a, CarrierHTTPS); !slices.Equal(got, a[1:]) {
		t.Errorf("the first tried %q", got)
	}
	chosen(t, f, second, now, b, CarrierDNS)
	if got := chosen(t, f, first, now, a, CarrierHTTPS); !slices.Equal(got, a[1:]) {
		t.Errorf("the first tried %q", got)
	}
	if got := chosen(t, f, second, now, b, CarrierDNS); !slices.Equal(got, b[1:]) {
		t.Errorf("the second tried %q", got)
	}
}

// TestChoiceGoesOn: the client goes on to HTTPS unless the first way has shown that the
// server lets this computer in, or what answers in its place.
func TestChoiceGoesOn(t *testing.T) {
	t.Parallel()
	for reason, want := range map[Reason]bool{
		ReasonNoAnswer: true, ReasonRefused: true, ReasonKnocksRefused: true, ReasonNoChallenge: true, ReasonChallengeForged: true,
		ReasonReset: true, ReasonTooMany: true, ReasonUnproved: true, ReasonOtherService: true, ReasonResponseFailed: true,
		ReasonNotListening: false, ReasonUpstream: false, ReasonImpostor: false, ReasonExpired: false,
	} {
		for _, letIn := range []bool{false, true} {
			for _, tunnel := range []bool{false, true} {
				went := false
				c := &choice{now: time.Now, report: func(Event) {}, tunnel: tunnel, ways: []byWay{{CarrierPackets, func(context.Context) (Result, error) {
					return Result{}, &OfflineError{Reason: reason, letIn: letIn}
				}}, {CarrierHTTPS, func(context.Context) (Result, error) {
					went = true
					return Result{Watched: true}, nil
				}}}}
				if _, err := c.run(t.Context()); went != (want && !letIn || tunnel) || went != (err == nil) {
					t.Errorf("%s, let in %t, tunnel %t: went on %t, %v", reason, letIn, tunnel, went, err)
				}
			}
		}
	}
}

// TestChoiceIsUntried: if nothing confirms the first way, the result names the others.
func TestChoiceIsUntried(t *testing.T) {
	t.Parallel()
	c := &choice{now: time.Now, report: func(Event) {}, ways: []byWay{{CarrierPackets, func(context.Context) (Result, error) {
		return Result{}, nil
	}}, {by: CarrierHTTPS}, {by: CarrierDNS}}}
	if r, err := c.run(t.Context()); err != nil || !slices.Equal(r.Untried, []Carrier{CarrierHTTPS, CarrierDNS}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestAnswerIsReported: an error of several ways has the answer of one of them.
func TestAnswerIsReported(t *testing.T) {
	t.Parallel()
	c := &choice{place: carrierPlace{server: "gate"}, now: time.Now, report: func(Event) {}, ways: []byWay{{CarrierPackets, func(context.Context) (Result, error) {
		return Result{}, &OfflineError{Server: "gate", Reason: ReasonNoAnswer, Attempts: 2}
	}}, {CarrierHTTPS, func(context.Context) (Result, error) {
		return Result{}, &OfflineError{Server: "gate", Reason: ReasonNoChallenge, Attempts: 2, found: "www.example.org answered with the status 404, and no challenge"}
	}}}}
	_, err := c.run(t.Context())
	const want = "gate: no challenge after 4 attempts: www.example.org answered with the status 404, and no challenge"
	if err == nil || err.Error() != want || ReasonOf(err) != ReasonNoChallenge {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestChoiceIsInterrupted: the caller's context ends the choice.
func TestChoiceIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := &choice{now: time.Now, report: func(Event) {}, ways: []byWay{{CarrierPackets, func(ctx context.Context) (Result, error) {
		cancel()
		return Result{}, ctx.Err()
	}}, {CarrierHTTPS, func(context.Context) (Result, error) {
		t.Error("went on")
		return Result{}, nil
	}}}}
	if _, err := c.run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
