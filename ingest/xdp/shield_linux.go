package xdp

import (
	"os"
	"sync"
	"sync/atomic"

	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

// Shield writes the rules of the program, and reads its counters. It is the server's
// side of one load of the program. Map makes one.
//
// Set, Mirror, Tick and SetOptions are called by one goroutine at a time; Beat, Counts
// and Ahead by any. Each Ring belongs to its reader. The owner calls Close last, when no
// reader uses a Ring.
type Shield struct {
	*arrays
	seeds      [4]uint32 // of the two buckets of an identifier, and of its word and bits in the filter
	bits       uint      // the number of buckets is 1<<bits
	filterBits uint      // the number of words of the filter is 1<<filterBits

	// observe, if set, is called after each store that the program can see. Tests use
	// it.
	observe func()

	table prefilter.Table // in force
	known bool            // a table is in force
	flags uint32
	rows  rows

	// The identifiers that may be in the array, at least all of the table.
	present  *prefilter.Identifiers
	complete bool // all identifiers of present are in the array

	marks    *verify.KeyTable // the table whose floors have a mark in the array
	rotating []wire.Identifier
	nextTick int   // the index in rotating at which the next Tick begins
	ticked   int64 // when Tick was called last, in Unix seconds

	mu     sync.RWMutex // read: the arrays may be used by any goroutine; write: Close
	closed bool
	last   Counts // when it was closed
	ahead  atomic.Uint64
}

// Options are the parts of the program that the administrator chooses.
type Options struct {
	Shares bool // shares, when a ring fills
	Mirror bool // drop nothing: count, and pass each frame to the kernel
	Empty  bool // empty datagrams go to the kernel, for package capture
}

// Map maps the arrays of a loaded program. files are the descriptors of all arrays by
// their name; Map owns them, also when it fails. The program passes all until Set.
func Map(files map[string]*os.File) (*Shield, error) {
	a, err := mapArrays(files)
	if err != nil {
		return nil, err
	}
	return newShield(a), nil
}

func newShield(a *arrays) *Shield {
	s := &Shield{
		arrays: a, seeds: a.settings.Seeds, rows: newRows(),
		present: prefilter.NewIdentifiers(nil), complete: true,
	}
	for 1<<s.bits < len(a.identifiers) {
		s.bits++
	}
	for 1<<s.filterBits < len(a.filter) {
		s.filterBits++
	}
	a.settings.Window = replay.Size
	a.settings.Flags.Store(0)
	s.Beat()
	return s
}

// Set puts a table in force without a gap: while it runs, the program accepts what
// both tables accept. If there is no room for all identifiers, the program accepts any
// identifier, which the level shows, until a table has fewer.
func (s *Shield) Set(t prefilter.Table) prefilter.Level {
	next := !s.known || t.Identifiers != s.table.Identifiers
	if next {
		if t.Identifiers == nil {
			s.setFlag(FlagClients, false)
		} else {
			s.insertAll(t.Identifiers)
		}
	}
	if !s.known || t.Maximum != s.table.Maximum || !samePlaces(t.Ports, s.table.Ports) {
		s.setPorts(t)
	}
	if next && t.Identifiers != nil {
		s.removeOthers(t.Identifiers)
		s.setFlag(FlagClients, s.complete)
	}
	s.table, s.known = t, true
	return s.level()
}

func (s *Shield) level() prefilter.Level {
	if s.flags&FlagClients == 0 {
		return prefilter.Shape
	}
	return prefilter.Clients
}

// Room returns for how many clients there is room: half of the entries stay free. It must
// not be called after Close.
func (s *Shield) Room() int { return len(s.identifiers) * len(Bucket{}) / 2 }

// SetOptions puts options in force.
func (s *Shield) SetOptions(o Options) {
	s.setFlag(FlagShares, o.Shares)
	s.setFlag(FlagMirror, o.Mirror)
	s.setFlag(FlagEmpty, o.Empty)
}

// SetRing sets whether the program puts datagrams into the rings, because they have
// readers. Otherwise the datagrams go to the sockets.
func (s *Shield) SetRing(on bool) { s.setFlag(FlagRing, on) }

// Beat shows the program that the server runs. It must be called each BeatInterval: after
// BeatLimit without it, the program refuses nothing, and passes all to the sockets, until
// the next call. Map writes the first beat. Any goroutine may call it, and it waits for
// none of the other methods for more than some milliseconds.
func (s *Shield) Beat() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.closed {
		s.settings.Beat.Store(uint64(Monotonic()))
	}
}

func (s *Shield) setFlag(flag uint32, on bool) {
	flags := s.flags &^ flag
	if on {
		flags |= flag
	}
	if flags != s.flags {
		s.flags = flags
		s.settings.Flags.Store(flags)
		s.stored()
	}
}

func (s *Shield) stored() {
	if s.observe != nil {
		s.observe()
	}
}

// Counts returns the counters. After Close they stay as they were.
func (s *Shield) Counts() Counts {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.counts()
}

func (s *Shield) counts() (c Counts) {
	if s.closed {
		return s.last
	}
	for cpu := range s.counters {
		for i := range c {
			c[i] += s.counters[cpu][i].Load()
		}
	}
	return c
}

// Close ends the mirrors, and unmaps the arrays. No Ring may be in use. The program
// passes all datagrams while its holder keeps it: it has no beat.
func (s *Shield) Close() {
	s.SetRing(false)
	s.endMirrors()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.settings.Beat.Store(0)
		s.last, s.closed = s.counts(), true
		s.unmap()
	}
}
