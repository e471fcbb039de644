package metrics

import "sallyport/cmd/sallyportd/internal/admin"

// server sends the metrics of the server as a whole.
func (s samples) server(st admin.Status) {
	s.gauge(Build, "1, with the release of the server.", 1, "release", st.Release)
	s.gauge(Start, "When the server started, in seconds since 1970.", float64(st.Started.UnixMilli())/1000)
	s.gauge(Ready, "1: a client that knocks now gets in.", number(st.Ready))
	s.gauge(Clients, "Clients in the clients file, or in the list of the fleet.", float64(st.Clients))
	if is := st.Clock.Synchronised; is != nil {
		s.gauge(ClockSynchronised, "1: the kernel reports that a time service synchronises the clock.", number(*is))
		if *is {
			s.gauge(ClockError, "The bound of the clock's error that the kernel has from the time service.", st.Clock.MaxError)
		}
	}
	s.counter(ClockSteps, "Steps of the wall clock by more than two seconds.", st.Clock.Steps)
	s.gauge(KnockPorts, "Knock ports of the live minutes, one at each address.", float64(st.Ports.Open), "state", "open")
	s.gauge(KnockPorts, "Knock ports of the live minutes, one at each address.", float64(st.Ports.Failed), "state", "failed")
	for _, t := range st.Tiers {
		s.gauge(TierLevel, "1, with how much of the rules a tier before the server enforces: none, shape or clients.", 1, "tier", t.Name, "level", t.Level)
	}
	if st.Shield != nil {
		s.gauge(ShieldOn, "1: the server reads the rings of the shield.", number(st.Shield.On))
	}
	s.gauge(CarriersDown, "Listeners for exchanges over HTTP and DNS that are not bound.", float64(len(st.Carriers)))
	s.counter(StateWrites, "Transactions of the state file that are on stable storage.", st.State.Writes)
	if st.State.Bytes >= 0 {
		s.gauge(StateBytes, "The size of the state file.", float64(st.State.Bytes))
	}
	s.trials(st.Trial)
	s.gauge(RunnersLost, "Processes that start the programs of a user, and have ended: their services stay closed.", float64(len(st.RunnersLost)))
	if h := st.Holder; h != nil {
		s.gauge(HolderUp, "1: the holder of the firewall and the shield answers.", number(h.Connected && !h.Silent))
		s.counter(HolderRestarts, "Holders that the server has connected to after the first one.", h.Restarts)
	}
	if st.Fleet != nil {
		s.gauge(FleetUp, "1: etcd has answered the last request.", number(st.Fleet.Available))
		if l := st.Fleet.List; l != nil {
			s.gauge(FleetList, "The version of the list of clients that is in force.", float64(l.Version))
			s.gauge(ListBad, "1: the list in etcd is another one, which this gateway refuses.", number(l.Refused != ""))
		}
	}
}

// trials sends how many services are on trial, and how many of an unconfirmed trial are
// open to anyone: the one exception to "closed unless a client has a lease".
func (s samples) trials(list []admin.Trial) {
	const help = "Services of trials that are not confirmed: running, or over, so that they are open to anyone."
	running := 0
	for _, t := range list {
		if t.Until != nil {
			running++
		}
	}
	s.gauge(OnTrial, help, float64(running), "state", "running")
	s.gauge(OnTrial, help, float64(len(list)-running), "state", "open")
}
