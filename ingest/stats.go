package ingest

import "sallyport/verify"

// Stats are totals since the start, but for Open. They are read while work
// goes on; once it rests, Received = the sum of Reasons + Dropped.
type Stats struct {
	Received uint64                 // datagrams read from the kernel
	Dropped  uint64                 // datagrams dropped because the ring was full
	Reasons  [verify.Reasons]uint64 // datagrams checked, by what was found
	Open     int                    // ports open now, one at each address
	Failures uint64                 // attempts to open a port that failed
}

// Stats returns the counters. It is safe for concurrent use.
func (s *Server) Stats() Stats {
	st := Stats{Open: int(s.ports.openCount.Load()), Failures: s.ports.failures.Load()}
	for _, sh := range s.shards {
		st.Received += sh.received.Load()
		st.Dropped += sh.dropped.Load()
		for r := range st.Reasons {
			st.Reasons[r] += sh.reasons[r].Load()
		}
	}
	return st
}
