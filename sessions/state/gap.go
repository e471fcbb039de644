package state

import (
	"time"

	"sallyport/sessions"
	"sallyport/verify/schedule"
)

// Gap says which nonces a start cannot know of, beside those of knocks that
// were stamped up to it and came while nobody listened. PROTOCOL.md of
// verify/wire has the rule.
type Gap struct {
	// Fresh: the file was made by Create, and no server has had it. No knock
	// was ever sent, so a start refuses none.
	Fresh bool
	// NotBeforeMargin: used nonces may have no record that were stamped so long after the
	// start, at the most. 0: none were.
	NotBeforeMargin time.Duration
	// LostUntil: used nonces may have no record that were stamped up to then. This
	// is a stamp, of a client that was let in, and no time of this host's
	// clock. Zero: none were.
	LostUntil time.Time
}

// headerAfterLoss is that of a file whose predecessor is lost: what was used is
// not known, nor which tolerance there was.
var headerAfterLoss = header{served: true, doubt: uint32(schedule.MaxTolerance / time.Second)}

func gapOf(h header) (g Gap) {
	g.Fresh = !h.served
	g.NotBeforeMargin = time.Duration(h.doubt) * time.Second
	if h.lost > 0 {
		g.LostUntil = time.Unix(int64(h.lost), 0)
	}
	return g
}

// next is what a start finds: the crash of a relaxed store may have lost what
// was reserved.
func (h header) next() header {
	if h.open {
		h.lost, h.open = max(h.lost, h.reserved), false
	}
	return h
}

// Gap returns what this start has to refuse.
func (s *Store) Gap() Gap { return s.gap }

// Newest returns the latest stamp of all knocks that have opened something; the
// clock of this host has once shown about that, or has been set back since. Zero:
// there was none.
func (s *Store) Newest() time.Time {
	if n := s.newest.Load(); n > 0 {
		return time.Unix(int64(n), 0)
	}
	return time.Time{}
}

func (s *Store) seen(e sessions.Entry) {
	for {
		n := s.newest.Load()
		if e.Stamp <= n || s.newest.CompareAndSwap(n, e.Stamp) {
			return
		}
	}
}

// Settle writes down that a doubt is over, once it is. It is called now and then.
func (s *Store) Settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header.doubt == 0 || !s.doubtIsOver() {
		return nil
	}
	return s.change(func(*header) {}) // update does it
}

// doubtIsOver reports whether the store has been open for as long as its header
// doubts: what a start that comes later doubts by itself covers it.
func (s *Store) doubtIsOver() bool {
	return s.boot().Sub(s.opened) >= time.Duration(s.header.doubt)*time.Second
}
