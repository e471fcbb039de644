package xdp

import (
	"encoding/binary"
	"sync/atomic"

	"sallyport/ingest/prefilter"
	"sallyport/verify/wire"
)

// entryID returns an identifier as the array has it.
func entryID(id wire.Identifier) uint32 { return binary.NativeEndian.Uint32(id[:]) }

// insertAll inserts the identifiers that the array does not have. Afterwards, present
// are those of before and these; complete reports whether all are in the array.
func (s *Shield) insertAll(ids *prefilter.Identifiers) {
	before := s.present
	if !s.complete {
		before = prefilter.NewIdentifiers(nil)
	}
	complete := true
	for id := range ids.Without(before) {
		complete = s.insert(id) && complete
		if !complete {
			s.setFlag(FlagClients, false)
		}
	}
	s.present, s.complete = prefilter.Union(s.present, ids), complete
}

// removeOthers removes all identifiers except these. If there was no room for some of
// these, they are inserted now.
func (s *Shield) removeOthers(ids *prefilter.Identifiers) {
	if s.present == ids && s.complete {
		return
	}
	for id := range s.present.Without(ids) {
		if e := s.find(entryID(id)); e != nil {
			s.freeEntry(e)
		}
	}
	s.cleanFilter(ids)
	s.present = ids
	if !s.complete {
		s.insertAll(ids)
	}
}

// buckets returns the two buckets of an identifier, which may be the same one.
func (s *Shield) buckets(id uint32) [2]*Bucket {
	return [2]*Bucket{&s.identifiers[Hash(id, s.seeds[0], s.bits)], &s.identifiers[Hash(id, s.seeds[1], s.bits)]}
}

// find returns the entry of an identifier; nil: there is none.
func (s *Shield) find(id uint32) *Entry {
	for _, b := range s.buckets(id) {
		if e := b.entry(id); e != nil {
			return e
		}
	}
	return nil
}

// entry returns the entry of an identifier; of 0: a free one.
func (b *Bucket) entry(id uint32) *Entry {
	for i := range b {
		if b[i].ID.Load() == id {
			return &b[i]
		}
	}
	return nil
}

func (b *Bucket) used() (n int) {
	for i := range b {
		if b[i].ID.Load() != 0 {
			n++
		}
	}
	return n
}

// insert inserts an identifier whose nonces are not known. It returns false if there is
// no room. An entry of another identifier may move to its other bucket.
func (s *Shield) insert(client wire.Identifier) bool {
	id := entryID(client)
	if s.find(id) != nil {
		return true
	}
	both := s.buckets(id)
	if both[1].used() < both[0].used() {
		both[0], both[1] = both[1], both[0]
	}
	for _, b := range both {
		if e := b.entry(0); e != nil {
			s.fill(e, id, 0, 0)
			s.remirror(client, e)
			return true
		}
	}
	for _, b := range both {
		for i := range b {
			if s.move(&b[i]) {
				s.fill(&b[i], id, 0, 0)
				s.remirror(client, &b[i])
				return true
			}
		}
	}
	return false
}

// fill writes a free entry, and the filter last: until then the program does not see it.
func (s *Shield) fill(e *Entry, id, highest, previous uint32) {
	e.Ahead.Store(0)
	e.Previous.Store(previous)
	e.Highest.Store(highest)
	s.stored()
	e.ID.Store(id)
	s.stored()
	word, bits := s.filtered(id)
	word.Or(bits)
	s.stored()
}

// filtered returns the word of an identifier in the filter, and its bits there.
func (s *Shield) filtered(id uint32) (word *atomic.Uint64, bits uint64) {
	return &s.filter[Hash(id, s.seeds[2], s.filterBits)], FilterBits(id, s.seeds[3])
}

// cleanFilter removes the bits that none of these identifiers has. At no time does a bit
// miss that one of these has.
func (s *Shield) cleanFilter(ids *prefilter.Identifiers) {
	clean := make([]uint64, len(s.filter))
	for id := range ids.Without(prefilter.NewIdentifiers(nil)) {
		id := entryID(id)
		clean[Hash(id, s.seeds[2], s.filterBits)] |= FilterBits(id, s.seeds[3])
	}
	for i := range clean {
		s.filter[i].Store(clean[i])
	}
	s.stored()
}

// freeEntry frees an entry. A processor that has just found it sees no mark, with which
// any nonce passes.
func (s *Shield) freeEntry(e *Entry) {
	var id wire.Identifier
	binary.NativeEndian.PutUint32(id[:], e.ID.Load())
	s.endMirror(id)
	e.ID.Store(0)
	s.stored()
	e.Highest.Store(0)
	e.Previous.Store(0)
	s.stored()
}

// move moves an entry to its other bucket, and reports whether that has room. For a
// moment the identifier has two entries, of which the program uses one.
func (s *Shield) move(e *Entry) bool {
	id := e.ID.Load()
	for _, b := range s.buckets(id) {
		to := b.entry(0)
		if to == nil {
			continue
		}
		s.fill(to, id, e.Highest.Load(), e.Previous.Load())
		to.Ahead.Add(e.Ahead.Load())
		e.ID.Store(0)
		s.stored()
		var client wire.Identifier
		binary.NativeEndian.PutUint32(client[:], id)
		s.remirror(client, to)
		e.Highest.Store(0)
		e.Previous.Store(0)
		s.stored()
		return true
	}
	return false
}
