package ingest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"golang.org/x/net/bpf"

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
	groups int // addresses
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

func newSetup(buffer int, off bool, addresses, readers int, log *slog.Logger) *setup {
	return &setup{
		buffer: buffer, off: off, groups: addresses, log: log, told: map[string]bool{},
		steer: prefilter.Steer{Seed: rand.Uint32() | 1, Sockets: readers},
	}
}

// maxInstructions bounds what the filters of all sockets take together: each
// has its own copy of 8 bytes an instruction, and as much again compiled.
const maxInstructions = 2 << 20

// use has the kernel hold datagrams to other rules. Sockets that are open have
// to be given their filters again.
func (s *setup) use(r verify.Rules) {
	maximum := int8(r.Ports - 1)
	if s.off || s.generation > 0 && s.table == r.Table && s.rules.Maximum == maximum {
		return
	}
	clear(s.told)
	s.table, s.rules = r.Table, prefilter.Rules{Maximum: maximum}
	level := ShapeFilter
	if r.Table.Len() <= prefilter.MaxIdentifiers {
		ids := prefilter.NewIdentifiers(slices.Collect(r.Table.Identifiers()))
		if ids.Instructions()*liveMinutes*r.Ports*s.groups*s.steer.Sockets <= maxInstructions {
			s.rules.Identifiers, level = ids, ClientsFilter
		}
	}
	if s.generation > 0 && level != Filter(s.level.Load()) {
		s.log.Info("the kernel's filter has changed", "kernel_filter", level)
	}
	s.generation++
	s.level.Store(int32(level))
}

// liveMinutes is for how many minutes ports are open at the most.
const liveMinutes = 3

// prepare sets up the socket of the n-th reader, before it is bound.
func (s *setup) prepare(fd, n int, f filter) error {
	if s.buffer > 0 {
		given, err := setBuffer(fd, s.buffer)
		if err != nil {
			return err
		}
		if given < s.buffer {
			s.tell(slog.LevelInfo, "receive buffers are smaller than asked for: net.core.rmem_max bounds them, or CAP_NET_ADMIN lifts it", "asked", s.buffer, "given", given)
		}
	}
	// The group of sockets has one program, which its first one brings.
	if n == 0 && s.steer.Sockets > 1 {
		if err := s.steer.Attach(fd); err != nil {
			s.tell(slog.LevelWarn, "the kernel does not steer datagrams by client: it will do so by source address", "error", err)
		}
	}
	f.attach(fd)
	return nil
}

// filter is the program of a port's sockets.
type filter struct {
	*setup
	program []bpf.RawInstruction // nil: none
	shape   func() []bpf.RawInstruction
}

// filterOf makes the filter of a port with these places.
func (s *setup) filterOf(places []schedule.Place) filter {
	if s.generation == 0 {
		return filter{setup: s}
	}
	rules := s.rules
	rules.Places = places
	return filter{s, rules.Raw(), func() []bpf.RawInstruction {
		rules.Identifiers = nil
		return rules.Raw()
	}}
}

// attach gives a socket the filter, in place of the one that it had. Where the
// kernel has no room for all of it, it gets the part without the clients.
func (f filter) attach(fd int) {
	if f.program == nil {
		return
	}
	if prefilter.AttachRaw(fd, f.program) == nil {
		return
	}
	// In place of another, it needs room for both. Without one for a moment,
	// all is checked here as ever.
	prefilter.Detach(fd)
	err := prefilter.AttachRaw(fd, f.program)
	if err == nil {
		return
	}
	if f.rules.Identifiers != nil {
		f.tell(slog.LevelWarn, "the kernel does not refuse unknown clients: if it has no room, raise net.core.optmem_max", "clients", f.table.Len(), "error", err)
		f.level.Store(min(f.level.Load(), int32(ShapeFilter)))
		if err = prefilter.AttachRaw(fd, f.shape()); err == nil {
			return
		}
	}
	f.tell(slog.LevelWarn, "the kernel refuses nothing on its own", "error", err)
	f.level.Store(int32(NoFilter))
}

// shut prepares a socket that is to take nothing.
func shut(fd int) error {
	prefilter.Attach(fd, prefilter.RefuseAll()) // without it, it takes a little
	return nil
}

func (s *setup) tell(level slog.Level, what string, attrs ...any) {
	if !s.told[what] {
		s.told[what] = true
		s.log.Log(context.Background(), level, what, attrs...)
	}
}
