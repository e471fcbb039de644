package ingest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/xdp"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// shield is the tier of the program at the driver, and its rings. The program comes and
// goes with its holder (SetShield); the sockets stay open. It belongs to the rotation
// goroutine, except for its counts.
type shield struct {
	routes  routes
	sources []*ringSource // one for each reader
	table   prefilter.Table
	level   atomic.Int32 // a prefilter.Level

	mu      sync.Mutex
	current *xdp.Shield // nil: none; written by the rotation
	gone    xdp.Counts  // of the former ones
}

// newShield makes the tier, and a source of rings for each reader.
func newShield(readers int) (*shield, error) {
	s := new(shield)
	for range readers {
		src, err := newRingSource(&s.routes)
		if err != nil {
			for _, src := range s.sources {
				src.close()
			}
			return nil, err
		}
		s.sources = append(s.sources, src)
	}
	for _, src := range s.sources {
		src.peers = s.sources
	}
	return s, nil
}

// Set implements tier. It never fails: without room for its rules, the program passes
// more to the sockets.
func (s *shield) Set(t prefilter.Table) (prefilter.Level, error) {
	s.table = t
	if s.current == nil {
		return prefilter.None, nil
	}
	level := s.current.Set(t)
	s.level.Store(int32(level))
	return level, nil
}

// keep removes the ports that a table does not have. The rotation calls it before it
// closes their sockets: a port that is closed may belong to another program.
func (s *shield) keep(wider prefilter.Table) {
	stays := func(port uint16) bool { _, ok := wider.Ports[port]; return ok }
	for port := range s.table.Ports {
		if !stays(port) {
			s.Set(s.table.Only(stays))
			return
		}
	}
}

// mark connects the nonces of the clients in force with their marks.
func (s *shield) mark(t *verify.KeyTable, now time.Time) {
	if s.current != nil {
		s.current.Mirror(t, now)
		s.current.Tick(now)
	}
}

// replace puts another shield in force, or none, and closes the present one. Each
// datagram in the rings of that is delivered. The caller then sets the table and the
// marks, and calls start.
func (s *shield) replace(next *xdp.Shield) {
	old := s.current
	if old != nil {
		old.SetRing(false)
	}
	s.swap(next)
	if old != nil {
		old.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil {
		s.gone = s.gone.Add(old.Counts())
	}
	s.current = next
	s.level.Store(int32(prefilter.None))
}

// swap gives each source its rings of a shield, and waits until it has them.
func (s *shield) swap(next *xdp.Shield) {
	var waiting []<-chan struct{}
	for i, src := range s.sources {
		var ring *xdp.Ring
		if next != nil {
			ring = next.Ring(i, len(s.sources))
		}
		waiting = append(waiting, src.swap(ring))
	}
	for _, done := range waiting {
		<-done
	}
}

// beat shows the program that this server runs, until done is closed. Its goroutine has
// no other work: the rotation may take seconds for the table of a million clients, and a
// reader waits while its shard is full.
func (s *shield) beat(done <-chan struct{}) {
	tick := time.NewTicker(xdp.BeatInterval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if inForce := s.inForce(); inForce != nil {
			inForce.Beat()
		}
	}
}

// inForce returns the shield, or nil, for any goroutine.
func (s *shield) inForce() *xdp.Shield {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// counts returns the counters of all shields since the start.
func (s *shield) counts() xdp.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return s.gone
	}
	return s.gone.Add(s.current.Counts())
}

// Counts implements tier. The counters are in Stats.Shield.
func (s *shield) Counts() TierCounts {
	return TierCounts{Name: "shield", Level: prefilter.Level(s.level.Load())}
}

// Close implements tier. Run has removed the program's rings before.
func (s *shield) Close() error { return nil }

var errNoShield = errors.New("ingest: the receiver was made without rings")

// SetShield puts a shield in force, which Run must be running for: the program refuses
// by the rules of the receiver, and its rings are read. If s is in force already, only
// the options change. nil: there is none, and datagrams arrive at the sockets only. The
// former shield is closed after each datagram in its rings was delivered.
//
// The receiver owns s, also if SetShield fails: it does if Config.Shield is false, ctx
// ends, or Run has ended. Any goroutine may call it.
func (r *Receiver) SetShield(ctx context.Context, s *xdp.Shield, o xdp.Options) error {
	if r.shield == nil {
		if s != nil {
			s.Close()
		}
		return errNoShield
	}
	taken := false
	err := r.runInRotation(ctx, func(rot *rotation) error {
		taken = true
		return rot.setShield(s, o)
	})
	if !taken && s != nil {
		s.Close()
	}
	return err
}

func (r *rotation) setShield(next *xdp.Shield, o xdp.Options) error {
	s := r.shield
	if next == nil || next != s.current {
		s.replace(next)
	}
	if next == nil {
		return nil
	}
	next.SetOptions(o)
	if err := r.refresh(); err != nil {
		return err
	}
	next.SetRing(true)
	return nil
}

// TooFarAhead calls f for each client of which the shield has refused datagrams since
// the last call because their nonce was too far ahead, with their number. Any goroutine
// may call it.
func (r *Receiver) TooFarAhead(f func(id wire.Identifier, refused uint32)) {
	if r.shield == nil {
		return
	}
	if s := r.shield.inForce(); s != nil {
		s.Ahead(f)
	}
}
