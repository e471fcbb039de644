package bench

import (
	"maps"
	"slices"
	"time"

	"sallyport/bench/report"
)

func received(above, below window) float64 {
	return above.rate(above.received) / below.rate(below.received)
}

func arrived(above, below window) float64 {
	return above.rate(above.host.arrived) / below.rate(below.host.arrived)
}

// perCore compares the packets that a core takes in a second. The generator may not send
// as many, so it is calculated from their cost.
func perCore(above, below window) float64 { return below.cost() / above.cost() }

func paid(above, below window) float64 { return above.costReceived() / below.costReceived() }

// timely compares the survival of honest knocks, in time.
func timely(above, below window) float64 {
	_, a := above.survival(1)
	_, b := below.survival(1)
	return a / b
}

// own returns the survival of the only honest client, by the server's counter: the server
// grants one client only so many leases a second.
func own(w, _ window) float64 { return float64(w.counters["authentic"]) / float64(w.honest) }

func owns(above, below window) float64 { return own(above, above) / own(below, below) }

func onlyTimely(w, _ window) float64 {
	_, t := w.survival(1)
	return t
}

// survivalToPossible returns the survival of honest knocks, in time, relative to
// the share of packets that a host of that capacity can receive.
func survivalToPossible(w, capacity window) float64 {
	_, timely := w.survival(1)
	return timely / min(1, capacity.rate(capacity.host.arrived)/w.rate(w.host.offered))
}

// ratios returns Result.Ratios.
func (b *results) ratios(runs int) map[string]report.Spread {
	r := func(above, below step, figure func(above, below window) float64) report.Spread {
		return b.ratio(runs, above, below, figure)
	}
	return map[string]report.Spread{
		"read_vs_sink":           r(readJunk, sinkJunk, received),
		"badmac_vs_sink":         r(wholeMAC, sinkMAC, received),
		"filter_vs_reject_all":   r(filterUnknown, refuseAll, arrived),
		"survival_badmagic":      r(magic, capacity, survivalToPossible),
		"survival_badmagic_half": r(magicHalf, capacity, survivalToPossible),
		"filter_gain":            r(magic, magicOpen, timely),
		"million_vs_hundred": r(millionMAC, wholeMAC, func(million, hundred window) float64 {
			return million.cost() / hundred.cost()
		}),

		"xdp_badmagic_vs_drop_all":    r(shieldCapacity, dropMagic, perCore),
		"xdp_unknown_vs_drop_all":     r(shieldUnknown, dropUnknown, perCore),
		"ring_read_vs_sink":           r(ringRead, sinkMAC, paid),
		"ring_verified_vs_sink":       r(ringVerified, sinkMAC, paid),
		"survival_xdp":                r(shieldMagic, shieldCapacity, survivalToPossible),
		"survival_xdp_vs_plain":       r(shieldMagic, plainMagic, timely),
		"survival_xdp_turn":           r(turnShield, shieldMagic, timely),
		"survival_ring_badmac_1m":     r(ringMillion, ringMillion, onlyTimely),
		"survival_others_named_flood": r(shieldNamed, shieldJunk, timely),
		"survival_own_vs_no_shares":   r(ownShares, ownNoShares, owns),
		"survival_own_one_network":    r(ownNetwork, ownNetwork, own),
	}
}

// result makes the report.
func (b *results) result(cfg Config, targets map[string]*tested) report.Result {
	n := 0
	for _, e := range b.entries {
		n = max(n, e.run+1)
	}
	quantile := func(s step, q float64) report.Spread {
		return b.ratio(n, s, s, func(w, _ window) float64 { return ms(w.latency.ValueAtQuantile(q)) })
	}
	res := report.Result{
		Version: report.Version, Time: time.Now().UTC().Truncate(time.Second), Command: cfg.Command,
		Conditions: report.Conditions{
			Rounds: cfg.Rounds, WindowSeconds: cfg.Window.Seconds(), Quick: cfg.Quick,
			Windows: b.windows, ThrownAway: b.discarded,
		},
		Ratios: b.ratios(n), Curves: b.curves(),
		LatencyMS: map[string]report.Spread{
			"idle_p50": quantile(idleRelaxed, 50), "half_p99": quantile(magicHalf, 99), "lone_p99": quantile(idleShield, 99),
			"answer_p99": b.answered(n, 99),
		},
		Failures: b.failures(),
	}
	seen := map[step]bool{}
	for _, e := range b.entries {
		if !seen[e.step] {
			seen[e.step] = true
			res.Rows = append(res.Rows, b.row(e.step))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		res.Memory = append(res.Memory, targets[name].memory)
	}
	return res
}
