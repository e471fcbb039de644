package ingest

import (
	"sallyport/ingest/prefilter"
	"sallyport/verify"
)

// Stats are totals since the start, but for Open. They are read while work
// goes on; once it rests, Received = the sum of Reasons + Dropped.
type Stats struct {
	// Kernel is what it has not queued at our sockets, whatever the reason. Of
	// ports that are open, it is as of the last second.
	Kernel uint64
	// Tiers are the places before this process where datagrams are refused, in
	// the order in which a datagram passes them. Of the last one, the socket
	// filter, Refused + Full + Either = Kernel.
	Tiers    []TierCounts
	Received uint64                    // datagrams read from the kernel
	Dropped  uint64                    // datagrams dropped because the ring was full
	Reasons  [verify.NumReasons]uint64 // datagrams checked, by what was found
	Open     int                       // ports open now, one at each address
	Failures uint64                    // attempts to open a port that failed
	Filter   prefilter.Level           // how much the socket filter refuses
}

// Stats returns the counters. It is safe for concurrent use.
func (s *Receiver) Stats() Stats {
	st := Stats{Open: int(s.ports.openCount.Load()), Failures: s.ports.failures.Load()}
	for _, f := range s.fronts {
		st.Tiers = append(st.Tiers, f.Counts())
	}
	filter := s.ports.filter.Counts()
	st.Kernel, st.Filter = s.ports.dropped(), filter.Level
	filter.Either = st.Kernel - filter.Refused - filter.Full
	st.Tiers = append(st.Tiers, filter)
	for _, sh := range s.shards {
		st.Received += sh.received.Load()
		st.Dropped += sh.dropped.Load()
		for r := range st.Reasons {
			st.Reasons[r] += sh.reasons[r].Load()
		}
	}
	return st
}
