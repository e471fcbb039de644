package daemon

import (
	"net/netip"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/fleet/split"
	"sallyport/verify"
)

// splitSequences makes what completes sequences whose knocks go to several servers of the
// fleet, if the configuration permits that. It returns what gets the knocks that come here.
// The policy of shared grants must be set: the configuration has some.
func (s *Server) splitSequences(cfg *config.Config) (parts func(verify.Knock, netip.Addr, sessions.Outcome), err error) {
	if cfg.Fleet == nil || !cfg.Fleet.Split {
		return nil, nil
	}
	s.split, err = split.New(split.Config{
		Gateway: cfg.Fleet.Name, Gateways: cfg.Fleet.GatewayNames(), Cluster: s.fleet.Cluster(),
		Policy: func() split.Policy {
			p := s.policy.Load()
			return split.Policy{Secrets: p.Secrets, Ports: p.Ports, Tolerance: p.Tolerance}
		},
		Wall: s.env.Clock.Wall, Now: s.env.Clock.Boot, Log: s.env.Log,
	})
	if err != nil {
		return nil, err
	}
	return s.split.Knock, nil
}

func splitCounters(counts [split.NumOutcomes]uint64) (t counters) {
	for i, n := range counts {
		t = append(t, counter{"split_" + split.Outcome(i).String(), n})
	}
	return t
}
