package daemon

import (
	"sync"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/metrics"
	"sallyport/sessions/gate"
)

const (
	// historyMinutes is how many minutes a history has, with the one that is not over.
	historyMinutes = 60
	// maxEnded is how many ended leases a history has.
	maxEnded = 256
)

// history has the refusals of each of the last minutes, and the leases that ended. Its
// size is fixed. The zero value is empty. It may be used concurrently.
type history struct {
	mu    sync.Mutex // of observers and of the ends of leases; no way of a knock takes it
	begin time.Time  // of the first sample, by clock.Boot
	last  time.Time  // the last sample
	// values has the counters at their last sample. A reload adds some, and leaves some out.
	values map[string]uint64
	// minutes is a ring: minute n since begin is at n modulo its length.
	minutes [historyMinutes]historyMinute
	ended   [maxEnded]endedLease
	next    int // in ended
}

// historyMinute has how much each counter grew in a minute.
type historyMinute struct {
	number int
	grown  map[string]uint64
}

// endedLease is a lease that has ended, with times of clock.Boot.
type endedLease struct {
	gate.Lease
	reason gate.EndReason
}

// add counts the growth since the last sample in the minute of this one: wrong by the
// time between two samples at most. Counters are 0 when the server begins.
func (h *history) add(now sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addLocked(now)
}

func (h *history) addLocked(now sample) {
	if h.begin.IsZero() {
		h.begin, h.values = now.at, map[string]uint64{}
	}
	if now.at.Before(h.last) {
		return
	}
	number := int(now.at.Sub(h.begin) / time.Minute)
	m := &h.minutes[number%historyMinutes]
	if m.number != number || m.grown == nil {
		m.number, m.grown = number, map[string]uint64{}
	}
	for _, c := range now.all {
		if grown := c.value - min(h.values[c.name], c.value); grown > 0 {
			m.grown[c.name] += grown
		}
		h.values[c.name] = c.value
	}
	h.last = now.at
}

// end keeps a lease that has ended at a time of clock.Boot.
func (h *history) end(l gate.Lease, reason gate.EndReason, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.Until = at
	h.ended[h.next] = endedLease{l, reason}
	h.next = (h.next + 1) % maxEnded
}

// read returns the history up to a sample. wall converts times of clock.Boot.
func (h *history) read(now sample, wall func(time.Time) time.Time) admin.History {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addLocked(now)
	r := admin.History{Now: wall(now.at), Minutes: []admin.Minute{}, Ended: []admin.EndedLease{}} // JSON: not null
	current := int(h.last.Sub(h.begin) / time.Minute)
	for number := max(current-historyMinutes+1, 0); number <= current; number++ {
		begin := h.begin.Add(time.Duration(number) * time.Minute)
		a := admin.Minute{Begin: wall(begin), Seconds: min(now.at.Sub(begin), time.Minute).Seconds(), Refused: map[string]uint64{}}
		// Otherwise nothing was sampled: the host was suspended.
		if m := h.minutes[number%historyMinutes]; m.number == number {
			for name, grown := range m.grown {
				if metrics.Refuses(name) {
					a.Refused[name] = grown
				}
			}
		}
		r.Minutes = append(r.Minutes, a)
	}
	for i := range h.ended {
		e := h.ended[(h.next+i)%maxEnded]
		if e.Service == "" {
			continue
		}
		l := identify(e.Lease)
		until := wall(e.Until)
		l.Since, l.Until = wall(e.Since), &until
		r.Ended = append(r.Ended, admin.EndedLease{Lease: l, Reason: string(e.reason)})
	}
	return r
}

// pastHour returns what the server has refused and closed in the last hour.
func (s *Server) pastHour() admin.History {
	return s.observed.history.read(sample{s.env.Clock.Boot(), s.counters()}, s.wallTimes())
}

// leaseEnded is gate.ServiceConfig.Ended.
func (s *Server) leaseEnded(l gate.Lease, reason gate.EndReason) {
	s.observed.history.end(l, reason, s.env.Clock.Boot())
}

// logTail returns the last lines of the log.
func (s *Server) logTail() []string {
	if s.env.LogTail == nil {
		return nil
	}
	return s.env.LogTail()
}
