package client

import (
	"context"
	"errors"
	"slices"
)

// Gateways is how a client tries the gateways of a profile, one after the other.
type Gateways struct {
	Names []string // at least one, in the order of the profile
	// Remembered is where the client remembers which gateway has answered: it then goes
	// first.
	Remembered GatewayFile
	// Once: each gateway gets one brief turn. Otherwise each gets a full one, if no brief
	// one has opened the service.
	Once   bool
	Report func(Event) // receives Switching; may be nil
}

// Turn is what one gateway gets of the time of a knock.
type Turn struct {
	Gateway int // the index of its name
	// Brief: one attempt, and no wait for the next minute, since another gateway follows.
	Brief bool
	// Last: no gateway follows, so the turn may wait for the next minute.
	Last bool
}

// Switching: a gateway has not opened the service, and the client goes on with another
// one.
type Switching struct {
	From, To string
	Err      error // of the turn
}

func (Switching) isEvent() {}

// Try lets the gateways have their turns, until one succeeds. The first turn is that of the gateway
// which has answered last. Confirmed means that a gateway has answered: without, the next ones
// have their brief turns too, since nothing shows which of them is there; the result is
// the first. If all fail, the error is that of a gateway that has answered, or else the
// first, with what the others have shown. Errors that another gateway cannot change end
// the turns.
func (g Gateways) Try(ctx context.Context, turn func(context.Context, Turn) (confirmed bool, err error)) error {
	order := g.order()
	if len(order) == 1 {
		_, err := turn(ctx, Turn{Brief: g.Once, Last: true})
		return err
	}
	passes := []bool{true, false} // whether they are brief
	if g.Once {
		passes = passes[:1]
	}
	var err error
	var before *Switching // of the turn before, if that has failed
	for n, brief := range passes {
		p := pass{g: g, order: order, brief: brief, last: n == len(passes)-1, before: &before}
		var over bool
		if over, err = p.run(ctx, turn); over {
			return err
		}
	}
	return err
}

// pass is one turn of each gateway.
type pass struct {
	g           Gateways
	order       []int
	brief, last bool
	before      **Switching
	failed      []*OfflineError
	unresolved  []*OfflineError // of gateways without an address
}

// run reports whether no further pass must follow.
func (p *pass) run(ctx context.Context, turn func(context.Context, Turn) (bool, error)) (over bool, err error) {
	sent := false
	for i, at := range p.order {
		last := p.last && i == len(p.order)-1
		if s := *p.before; s != nil && p.g.Report != nil {
			s.To = p.g.Names[at]
			p.g.Report(*s)
		}
		*p.before = nil
		confirmed, err := turn(ctx, Turn{Gateway: at, Brief: p.brief, Last: last})
		switch {
		case err == nil && confirmed:
			p.g.Remembered.remember(p.g.Names[at])
			return true, nil
		case err == nil:
			sent = true
			continue
		case !p.fail(ctx, at, err):
			return true, err
		}
		*p.before = &Switching{From: p.g.Names[at], Err: err}
	}
	switch {
	case sent:
		return true, nil
	case len(p.failed) == 0:
		return false, p.unresolved[0].err
	}
	all := append(p.failed, p.unresolved...)
	return false, mergeOffline(all, func(i int) string { return "at " + all[i].Server })
}

// fail records the error of a turn, and reports whether another gateway may succeed.
func (p *pass) fail(ctx context.Context, at int, err error) bool {
	var offline *OfflineError
	switch known := errors.As(err, &offline); {
	case ctx.Err() != nil || !known && ReasonOf(err) == "" || known && offline.Reason == ReasonExpired:
		return false
	case known:
		p.failed = append(p.failed, offline)
	default: // no address of the server, which another gateway may have
		p.unresolved = append(p.unresolved, &OfflineError{Server: p.g.Names[at], Reason: ReasonOf(err), Certain: []string{err.Error()}, err: err})
	}
	return true
}

// order returns the indices of the gateways in the order of their turns.
func (g Gateways) order() []int {
	order := make([]int, len(g.Names))
	for i := range order {
		order[i] = i
	}
	if i := slices.Index(g.Names, g.Remembered.remembered()); i > 0 {
		order = slices.Insert(slices.Delete(order, i, i+1), 0, i)
	}
	return order
}
