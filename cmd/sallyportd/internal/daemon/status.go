package daemon

import (
	"os"
	"runtime"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/ingest"
	"sallyport/sessions"
)

// status returns what the server does now, for people and for the metrics. It takes no
// lock of the way of a knock, of a grant or of a reload, and asks no other process.
func (s *Server) status() admin.Status {
	now, changing := s.current()
	received := s.ingest.Stats()
	st := admin.Status{
		API: admin.Version, Release: s.env.Release, PID: os.Getpid(), Config: now.cfg.Path,
		Started: s.observed.wall.UTC(), Uptime: s.env.Clock.Boot().Sub(s.observed.boot).Seconds(), Reloading: changing,
		Clock:   s.observed.clock.state(),
		Ports:   admin.KnockPorts{Open: received.Open, Failed: received.Failed, Failures: received.Failures},
		Clients: now.clients, Shield: s.observed.shield.Load(),
		Services: s.servicesNow(now.cfg), Queues: s.queues(received), Latency: latencyOf(s.sessions.Latency()),
		State: s.stateFile(), Sandbox: s.sandboxes(), RunnersLost: s.observed.runnersLost(), SelfTest: s.self.status(),
		Counters: map[string]uint64{}, Goroutines: runtime.NumGoroutine(),
	}
	select {
	case <-s.start.ready:
		st.Ready = true
	default:
	}
	for _, t := range received.Tiers {
		st.Tiers = append(st.Tiers, admin.Tier{Name: t.Name, Level: t.Level.String()})
	}
	if s.challenge != nil {
		st.Carriers = map[string]string{}
		s.challenge.carriers.waiting(st.Carriers)
	}
	if s.holder != nil {
		st.Holder = &admin.Holder{Connected: s.holder.Held(), Silent: s.holder.Silent(), Restarts: s.observed.holders.Load()}
	} else if s.shield != nil {
		st.Holder = &admin.Holder{Connected: s.shield.holder.Held(), Silent: s.shield.holder.Silent(), Restarts: s.observed.holders.Load()}
	}
	if s.holder != nil {
		st.Trial, st.TrialUnknown = trialsNow(now.cfg, s.env.Clock.Wall())
	}
	if s.fleet != nil {
		h := s.fleet.Cluster().Health()
		st.Fleet = &admin.Fleet{Name: now.cfg.Fleet.Name, Available: h.Available, Error: h.Err}
		if s.list != nil {
			list := s.list.Roster().Stats()
			st.Fleet.List = &admin.ClientList{Version: list.Version}
			if list.Refusal != nil {
				st.Fleet.List.Refused = list.Refusal.Error()
			}
		}
	}
	s.addCounters(&st)
	return st
}

// addCounters adds the counters, and those of refusals with their rates.
func (s *Server) addCounters(st *admin.Status) {
	all := sample{s.env.Clock.Boot(), s.counters()}
	rates := s.observed.rates(all)
	for i, c := range all.all {
		st.Counters[c.name] = c.value
		if metrics.Refuses(c.name) {
			st.Refusals = append(st.Refusals, admin.Refusal{Reason: c.name, Total: c.value, Rate: rates[i]})
		}
	}
}

// servicesNow returns the services, in the order of the configuration.
func (s *Server) servicesNow(cfg *config.Config) []admin.Service {
	list := []admin.Service{}
	for i, l := range s.gate.Loads() {
		v := admin.Service{Name: l.Service, Leases: l.Leases, Granted: l.Granted, Ended: map[string]uint64{}, Unbound: l.Unbound, Waits: l.Waits}
		if c := cfg.Service(l.Service); c != nil {
			v.Type = c.Type
		}
		for _, e := range l.Ended {
			v.Ended[e.Reason] = e.Count
		}
		v.Connections, v.Flows = numberOf(s.services[i].Connections), numberOf(s.services[i].Flows)
		list = append(list, v)
	}
	return list
}

// numberOf returns a count; nil: nothing counts.
func numberOf(count func() int) *int {
	if count == nil {
		return nil
	}
	n := count()
	return &n
}

func (s *Server) queues(in ingest.Stats) []admin.Queue {
	knocks, grants := s.sessions.Depths()
	return []admin.Queue{
		{Name: "batches", Waiting: in.Batches, Room: in.Room},
		{Name: "knocks", Waiting: knocks.Waiting, Room: knocks.Room},
		{Name: "grants", Waiting: grants.Waiting, Room: grants.Room},
	}
}

func latencyOf(l sessions.Latency) (a admin.Latency) {
	for _, b := range sessions.LatencyBounds {
		a.Bounds = append(a.Bounds, b.Seconds())
	}
	a.Counts, a.Sum = l.Counts[:], l.Sum.Seconds()
	return a
}

func (s *Server) stateFile() admin.StateFile {
	f := admin.StateFile{Path: s.state.Path(), Bytes: -1, Writes: s.state.Writes(), Failures: s.state.Failures()}
	if info, err := os.Stat(f.Path); err == nil {
		f.Bytes = info.Size()
	}
	return f
}
