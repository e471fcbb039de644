package ingest

import "sallyport/verify"

// Stats are totals since the start, but for Open. They are read while work
// goes on; once it rests, Received = the sum of Reasons + Dropped.
type Stats struct {
	// Kernel is what it has not queued: refused by a filter, or dropped at a
	// full queue, which it counts as one. Of ports that are open, it is as of
	// the last second.
	Kernel   uint64
	Received uint64                 // datagrams read from the kernel
	Dropped  uint64                 // datagrams dropped because the ring was full
	Reasons  [verify.Reasons]uint64 // datagrams checked, by what was found
	Open     int                    // ports open now, one at each address
	Failures uint64                 // attempts to open a port that failed
	Filter   Filter                 // how much the kernel refuses on its own
}

// Stats returns the counters. It is safe for concurrent use.
func (s *Server) Stats() Stats {
	st := Stats{
		Kernel: s.ports.kernel.Load(), Open: int(s.ports.openCount.Load()), Failures: s.ports.failures.Load(),
		Filter: Filter(s.ports.setup.level.Load()),
	}
	for _, sh := range s.shards {
		st.Kernel += sh.kernel.Load()
		st.Received += sh.received.Load()
		st.Dropped += sh.dropped.Load()
		for r := range st.Reasons {
			st.Reasons[r] += sh.reasons[r].Load()
		}
	}
	return st
}
