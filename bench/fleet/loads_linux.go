package fleet

import (
	"context"
	"errors"
	"time"
)

const (
	// inFlight is how many attempts each gateway may have that it has not answered.
	inFlight = 500
	// lostTime is after how long without an answer they count as lost.
	lostTime = time.Second
	settling = 500 * time.Millisecond
	pace     = 5 * time.Millisecond // between two looks at the counters
)

// outcomes are the counters of a gateway for attempts that are over.
var outcomes = []string{
	"session_opened", "session_rate_limited", "session_superseded", "session_unrecorded", "session_used_elsewhere",
}

// state is the counters of a gateway.
type state struct{ opened, over, others uint64 }

func (g *gateway) state(ctx context.Context) (s state, err error) {
	c, err := g.server.Counters(ctx)
	if err != nil {
		return s, err
	}
	s.opened, s.others = c["session_opened"], c["grant_opened"]
	for _, name := range outcomes {
		s.over += c[name]
	}
	return s, nil
}

// totals is what all programs have done since their start.
type totals struct {
	state
	at                time.Time
	gateways, members time.Duration // processor time
	cost              Cost
}

func (t *testbed) totals(ctx context.Context) (all totals, err error) {
	if all.cost, err = t.cost(ctx); err != nil {
		return all, err
	}
	for _, g := range t.gateways {
		u, err := g.server.FamilyTime()
		if err != nil {
			return all, err
		}
		all.gateways += u
	}
	if t.etcd != nil {
		if all.members, err = t.etcd.processor(); err != nil {
			return all, err
		}
	}
	for _, g := range t.gateways {
		s, err := g.state(ctx)
		if err != nil {
			return all, err
		}
		all.opened, all.over, all.others = all.opened+s.opened, all.over+s.over, all.others+s.others
	}
	all.at = time.Now()
	return all, nil
}

// load keeps all gateways busy with attempts of many clients for a window.
func (t *testbed) load(ctx context.Context, all bool, window time.Duration) (l Load, err error) {
	l.Setup = t.setup
	l.All = all
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- t.drive(ctx, all) }()
	time.Sleep(settling)
	quiet, err := t.usage()
	if err != nil {
		return l, err
	}
	before, err := t.totals(ctx)
	if err != nil {
		return l, err
	}
	time.Sleep(window)
	if l.Noise, err = t.noise(quiet); err != nil {
		return l, err
	}
	after, err := t.totals(ctx)
	if err != nil {
		return l, err
	}
	cancel()
	if err := <-over; err != nil {
		return l, err
	}
	seconds := after.at.Sub(before.at).Seconds()
	opened := float64(after.opened - before.opened)
	if opened == 0 {
		return l, errors.New("nothing was opened in the window")
	}
	l.Grants, l.Carried = opened/seconds, float64(after.others-before.others)/seconds
	l.Failed = float64(after.over-before.over)/seconds - l.Grants
	l.Gateway = float64(after.gateways-before.gateways) / float64(time.Microsecond) / opened
	l.Members = float64(after.members-before.members) / float64(time.Microsecond) / opened
	l.Cost = after.cost.plus(before.cost, -1).over(opened)
	time.Sleep(settling)
	return l, nil
}

// drive sends attempts to each gateway until ctx ends: as many as keep inFlight unanswered.
func (t *testbed) drive(ctx context.Context, all bool) error {
	type driven struct {
		sent, last uint64
		answered   time.Time
	}
	list := make([]driven, len(t.gateways))
	for i, g := range t.gateways {
		s, err := g.state(ctx)
		if err != nil {
			return err
		}
		list[i] = driven{s.over, s.over, time.Now()}
	}
	for ctx.Err() == nil {
		for i, g := range t.gateways {
			s, err := g.state(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			d := &list[i]
			if s.over != d.last {
				d.last, d.answered = s.over, time.Now()
			} else if time.Since(d.answered) > lostTime {
				d.sent, d.answered = s.over, time.Now()
			}
			for d.sent < s.over+inFlight {
				if _, _, err := t.clients.knock(all, g.to); err != nil {
					return err
				}
				d.sent++
			}
		}
		time.Sleep(pace)
	}
	return nil
}

// idle returns what each gateway costs the members in a second without knocks.
func (t *testbed) idle(ctx context.Context, window time.Duration) (*Cost, error) {
	begin := time.Now()
	before, err := t.cost(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(window):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := t.cost(ctx)
	if err != nil {
		return nil, err
	}
	c := after.plus(before, -1).over(time.Since(begin).Seconds() * float64(t.setup.Gateways))
	return &c, nil
}
