package presence

import (
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/sessions/fleet/cluster"
)

// beats is of how many writes the least delayed one counts for a clock.
const beats = 3

// view is a cluster.Follower: the gateways that have a key now.
type view struct {
	wall func() time.Time
	// preferred are the names of the configuration, which other names do not keep out.
	preferred []string

	mu       sync.Mutex
	all      map[string]*seen
	snapshot map[string]bool // the keys of the snapshot that is being read; nil: it is complete
	current  bool            // since the first snapshot
	changed  chan struct{}   // gets an element after changes
}

type seen struct {
	Seen
	ahead []time.Duration // of the latest writes
}

func newView(wall func() time.Time, preferred []string) *view {
	return &view{wall: wall, preferred: preferred, all: map[string]*seen{}, changed: make(chan struct{}, 1)}
}

// Begin implements cluster.Follower.
func (v *view) Begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.snapshot = map[string]bool{}
}

// Current implements cluster.Follower.
func (v *view) Current(int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.snapshot != nil {
		for name := range v.all {
			if !v.snapshot[name] {
				delete(v.all, name)
			}
		}
		v.snapshot, v.current = nil, true
	}
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// Apply implements cluster.Follower.
func (v *view) Apply(changes []cluster.Change) {
	now := v.wall()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range changes {
		if c.Deleted {
			delete(v.all, c.Key)
			continue
		}
		s := v.all[c.Key]
		if s == nil {
			if !isWord(c.Key, MaxName) || !v.room(c.Key) {
				continue
			}
			s = &seen{Seen: Seen{Name: c.Key}}
			v.all[c.Key] = s
		}
		if v.snapshot != nil {
			v.snapshot[c.Key] = true
		}
		s.set(c.Value, now, v.snapshot == nil)
	}
}

// room makes room for a name, if it may have some: a user of etcd may write any number of
// names.
func (v *view) room(name string) bool {
	if len(v.all) < MaxGateways {
		return true
	}
	if !slices.Contains(v.preferred, name) {
		return false
	}
	for other := range v.all {
		if !slices.Contains(v.preferred, other) {
			delete(v.all, other)
			return true
		}
	}
	return false
}

// set takes a value. One of a snapshot may be older than a beat, so the clock is
// not measured by it.
func (s *seen) set(value []byte, now time.Time, fresh bool) {
	before := s.Run
	info, err := Parse(value)
	s.Seen = Seen{Name: s.Name, Info: info, Err: err, Ahead: s.Ahead, Measured: s.Measured}
	if err != nil || s.Run != before {
		s.ahead, s.Ahead, s.Measured = nil, 0, false
	}
	if err != nil || !fresh {
		return
	}
	// A delay makes the clock look behind, never ahead.
	s.ahead = append(s.ahead, s.Written.Add(s.Took/2).Sub(now))
	if len(s.ahead) > beats {
		s.ahead = s.ahead[1:]
	}
	s.Ahead, s.Measured = slices.Max(s.ahead), true
}

// list returns the gateways by their names, and whether there was a snapshot.
func (v *view) list() (all []Seen, current bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.all {
		all = append(all, s.Seen)
	}
	slices.SortFunc(all, func(a, b Seen) int { return strings.Compare(a.Name, b.Name) })
	return all, v.current
}
