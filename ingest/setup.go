package ingest

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// setup is what is done to the sockets of knock ports besides binding them:
// receive buffer, kernel filter, steering. Where the kernel does not give all
// of it, the server works all the same, and the log says so once. It belongs
// to the rotation goroutine, but for the level.
type setup struct {
	buffer int // bytes; 0: the kernel's default
	off    bool
	steer  prefilter.Steer
	log    *slog.Logger
	told   map[string]bool

	table      *verify.Table
	rules      prefilter.Rules // but for the places
	generation uint64          // of the rules; 0: no filter
	level      atomic.Int32    // a Filter
}

// Filter says how much the kernel refuses on its own.
type Filter int32

// The levels.
const (
	NoFilter      Filter = iota // nothing
	ShapeFilter                 // all but unknown identifiers
	ClientsFilter               // unknown identifiers too
)

var filterNames = [...]string{"none", "shape", "clients"}

func (f Filter) String() string {
	if f >= 0 && int(f) < len(filterNames) {
		return filterNames[f]
	}
	return "unknown"
}

func newSetup(buffer int, off bool, readers int, log *slog.Logger) *setup {
	return &setup{
		buffer: buffer, off: off, log: log, told: map[string]bool{},
		steer: prefilter.Steer{Seed: rand.Uint32() | 1, Sockets: readers},
	}
}

// use has the kernel hold datagrams to other rules. Sockets that are open have
// to be given them by filter.
func (s *setup) use(r verify.Rules) {
	maximum := int8(r.Ports - 1)
	if s.off || s.generation > 0 && s.table == r.Table && s.rules.Maximum == maximum {
		return
	}
	s.table, s.rules = r.Table, prefilter.Rules{Maximum: maximum}
	level := ShapeFilter
	if r.Table.Len() <= prefilter.MaxIdentifiers {
		s.rules.Identifiers = prefilter.NewIdentifiers(slices.Collect(r.Table.Identifiers()))
		level = ClientsFilter
	}
	s.generation++
	s.level.Store(int32(level))
}

// prepare sets up the socket of the n-th reader, before it is bound.
func (s *setup) prepare(fd, n int, places []schedule.Place) error {
	if s.buffer > 0 {
		given, err := setBuffer(fd, s.buffer)
		if err != nil {
			return err
		}
		if given < s.buffer {
			s.tell("receive buffers are smaller than asked for: raise net.core.rmem_max, or give the server CAP_NET_ADMIN", "asked", s.buffer, "given", given)
		}
	}
	// The group of sockets has one program, which its first one brings.
	if n == 0 && s.steer.Sockets > 1 {
		if err := s.steer.Attach(fd); err != nil {
			s.tell("the kernel does not steer datagrams by client: it will do so by source address", "error", err)
		}
	}
	s.filter(fd, places)
	return nil
}

// filter gives a socket the rules, in place of those that it had.
func (s *setup) filter(fd int, places []schedule.Place) {
	if s.generation == 0 {
		return
	}
	rules := s.rules
	rules.Places = places
	err := prefilter.Attach(fd, rules.Program())
	if err != nil && rules.Identifiers != nil {
		// Too large for this kernel, most likely: the tree is most of it.
		s.tell("the kernel does not refuse unknown clients: raise net.core.optmem_max", "clients", s.table.Len(), "error", err)
		s.level.Store(int32(ShapeFilter))
		s.rules.Identifiers, rules.Identifiers = nil, nil
		err = prefilter.Attach(fd, rules.Program())
	}
	if err != nil {
		s.tell("the kernel refuses nothing on its own", "error", err)
		s.level.Store(int32(NoFilter))
		// An earlier filter would refuse what is good by now.
		prefilter.Detach(fd)
	}
}

func (s *setup) tell(what string, attrs ...any) {
	if !s.told[what] {
		s.told[what] = true
		s.log.Warn(what, attrs...)
	}
}
