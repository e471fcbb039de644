package daemon

import (
	"slices"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/fleet/grants"
	"sallyport/sessions/gate"
	"sallyport/verify/wire"
)

// shareGrants makes what exchanges grants with the other servers of the fleet, if a
// service opens at all of them. The gate must exist.
func (s *Server) shareGrants(cfg *config.Config, p plan) (err error) {
	if !cfg.Shares() {
		return nil
	}
	s.setPolicy(p.policy)
	s.shared, err = grants.New(grants.Config{
		Gateway: cfg.Fleet.Name, Cluster: s.fleet.Cluster(), Record: s.fleet, Gate: sharedGate{s.gate}, Close: s.endOwn,
		Policy: func() grants.Policy { return *s.policy.Load() },
		Wall:   s.env.Clock.Wall, Log: s.env.Log,
	})
	if err == nil {
		s.gate.share = s.shared.Open
	}
	return err
}

// setPolicy sets the policy of shared. Its copy does not keep the rest of a plan in memory.
func (s *Server) setPolicy(p grants.Policy) { s.policy.Store(&p) }

// withdraw revokes the grants of clients at the other servers.
func (s *Server) withdraw(clients ...wire.Identifier) {
	if s.shared != nil && len(clients) > 0 {
		s.shared.Withdraw(clients...)
	}
}

// sharedGate is the gate for grants of other servers.
type sharedGate struct{ announcing }

// OpenShared implements grants.Gate.
func (g sharedGate) OpenShared(list []gate.SharedGrant) []error {
	own := make([]sessions.Grant, len(list))
	for i := range list {
		own[i] = list[i].Grant
	}
	if g.admit != nil {
		if err := g.admit(own); err != nil {
			return slices.Repeat([]error{err}, len(list))
		}
	}
	errs := g.Services.OpenShared(list)
	g.announceAll(own, errs, g.Services.Shared)
	return errs
}

func grantCounters(counts [grants.NumOutcomes]uint64) (t counters) {
	for i, n := range counts {
		t = append(t, counter{"grant_" + grants.Outcome(i).String(), n})
	}
	return t
}
