package presence

import (
	"log/slog"
	"slices"
	"time"
)

// linePause is the least time between two log lines about the same fact. A difference that
// comes and goes meanwhile has none.
const linePause = time.Minute

// reporter logs what differs: a line when it begins, and one when it ends.
type reporter struct {
	log   *slog.Logger
	known map[string]*gateway // at most MaxGateways
	// settle is how long a part may differ without a line; by Difference.What.
	settle map[string]time.Duration
}

type gateway struct {
	gone  fact
	parts map[string]*fact // by Difference.What
}

// fact is something that may differ, and whether the log has that.
type fact struct {
	logged bool
	last   time.Time // when it got its last line
	since  time.Time // when it began to differ; zero: it does not
}

// lasts notes whether the fact differs, and reports whether it has for some time.
func (f *fact) lasts(differs bool, settle time.Duration, now time.Time) bool {
	switch {
	case !differs:
		f.since = time.Time{}
	case f.since.IsZero() || now.Before(f.since):
		f.since = now
	}
	return differs && now.Sub(f.since) >= settle
}

// turns reports whether the fact requires a line now.
func (f *fact) turns(differs bool, now time.Time) bool {
	since := now.Sub(f.last)
	if differs == f.logged || !f.last.IsZero() && since >= 0 && since < linePause {
		return false
	}
	f.logged, f.last = differs, now
	return true
}

func (r *reporter) report(name string, own Info, others []Seen, now time.Time) {
	present := make(map[string][]Difference, len(others))
	for _, o := range others {
		if o.Name != name {
			present[o.Name] = Compare(own, o)
		}
	}
	r.learn(present)
	for name, g := range r.known {
		list, here := present[name]
		log := r.log.With("gateway", name)
		if g.gone.turns(!here, now) {
			if here {
				log.Info("gateway back in the fleet")
			} else {
				log.Warn("gateway gone from the fleet")
			}
		}
		if here {
			g.report(list, r.settle, now, log)
		}
	}
}

// learn adds gateways; those that are gone make room.
func (r *reporter) learn(present map[string][]Difference) {
	for name := range present {
		if r.known[name] != nil {
			continue
		}
		for old := range r.known {
			if _, here := present[old]; !here && len(r.known) >= MaxGateways {
				delete(r.known, old)
			}
		}
		if len(r.known) < MaxGateways {
			r.known[name] = &gateway{parts: map[string]*fact{}}
		}
	}
}

func (g *gateway) report(list []Difference, settle map[string]time.Duration, now time.Time, log *slog.Logger) {
	for _, d := range list {
		if g.parts[d.What] == nil {
			g.parts[d.What] = &fact{}
		}
	}
	for what, f := range g.parts {
		i := slices.IndexFunc(list, func(d Difference) bool { return d.What == what })
		switch {
		case !f.turns(f.lasts(i >= 0, settle[what], now), now):
		case i >= 0:
			log.Warn("gateway differs from this one", "part", what, "here", list[i].Here, "there", list[i].There)
		default:
			log.Info("gateway agrees with this one again", "part", what)
		}
	}
}
