package ingest

import (
	"time"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/xdp"
	"sallyport/verify"
)

// Stats are totals since the start, except for Open to Untraced, Batches, Room and
// Filter. While datagrams are processed, the counts are not read at one instant. When
// none is, Received = the sum of Reasons + Dropped.
type Stats struct {
	// Kernel counts the datagrams that the kernel did not queue at our sockets,
	// for any reason. For open ports it can be a second old.
	Kernel uint64
	// Tiers are the tiers before this process, in the order in which a datagram
	// passes them. For the last one, the socket filter, Refused + Full + Either =
	// Kernel.
	Tiers []TierCounts
	// Shield are the counters of the program at the driver, of all shields since the
	// start. Received includes its CountRing.
	Shield xdp.Counts
	// RingTime is how long datagrams have been in rings, in total, and RingLongest the
	// longest time of one.
	RingTime, RingLongest time.Duration

	Received uint64                    // datagrams read from the kernel
	Dropped  uint64                    // datagrams dropped because the ring was full
	Reasons  [verify.NumReasons]uint64 // datagrams checked, by result
	Open     int                       // ports open for knocks now, one at each address
	Failed   int                       // ports that should be open for knocks now, and cannot be opened
	Traced   int                       // ports that are open for a trace only, and accept no knock
	Untraced int                       // ports that should be, and cannot be opened
	Batches  int                       // batches that wait for the checks now
	Room     int                       // for how many there is room
	Failures uint64                    // attempts to open a port that failed
	Filter   prefilter.Level           // how much the socket filter refuses
}

// Stats returns the counters. It is safe for concurrent use.
func (r *Receiver) Stats() Stats {
	st := Stats{Open: int(r.ports.openCount.Load()), Failed: int(r.ports.failedCount.Load()), Failures: r.ports.failures.Load()}
	st.Traced, st.Untraced = int(r.ports.tracedCount.Load()), int(r.ports.lostCount.Load())
	for _, f := range r.fronts {
		st.Tiers = append(st.Tiers, f.Counts())
	}
	if s := r.shield; s != nil {
		st.Shield = s.counts()
		for _, src := range s.sources {
			st.RingTime += time.Duration(src.waits.total.Load())
			st.RingLongest = max(st.RingLongest, time.Duration(src.waits.longest.Load()))
		}
	}
	filter := r.ports.filter.Counts()
	st.Kernel, st.Filter = r.ports.dropped(), filter.Level
	filter.Either = st.Kernel - filter.Refused - filter.Full
	st.Tiers = append(st.Tiers, filter)
	for _, sh := range r.shards {
		st.Received += sh.received.Load()
		st.Dropped += sh.dropped.Load()
		st.Batches += sh.queue.waiting()
		st.Room += len(sh.queue.slots)
		for i := range st.Reasons {
			st.Reasons[i] += sh.reasons[i].Load()
		}
	}
	return st
}
