package fleet

import (
	"slices"
	"sync"

	"sallyport/verify/wire"
)

// view has the records of registered clients that this gateway has seen: each with the
// revision of its key. They may be old.
type view struct {
	mu    sync.Mutex
	index map[wire.Identifier]uint32
	cells []cell
	// more has the records of clients with more than one.
	more map[uint32][]record
}

// cell is a client with one record, without a pointer.
type cell struct {
	revision int64
	tag      uint64
	removed  uint32
	first    record // without a secret: the client has none
}

func newView() *view { return &view{index: map[wire.Identifier]uint32{}, more: map[uint32][]record{}} }

// known is the value of a key at a revision. 0: the key does not exist.
type known struct {
	value
	revision int64
}

func (v *view) get(id wire.Identifier) known {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.find(id)
}

func (v *view) find(id wire.Identifier) (k known) {
	i, ok := v.index[id]
	if !ok {
		return k
	}
	c := &v.cells[i]
	k.revision, k.tag, k.removed = c.revision, c.tag, c.removed
	if more := v.more[i]; more != nil {
		k.records = slices.Clone(more)
	} else if c.first.secret != 0 {
		k.records = []record{c.first}
	}
	return k
}

// set replaces a client's records by later ones. It reports whether those before are
// part of them: otherwise the record went back.
func (v *view) set(id wire.Identifier, next known) (follows bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.find(id)
	if next.revision <= before.revision {
		return true // an event that came late
	}
	i, ok := v.index[id]
	if !ok {
		i = uint32(len(v.cells))
		v.index[id] = i
		v.cells = append(v.cells, cell{})
	}
	v.cells[i] = cell{next.revision, next.tag, next.removed, record{}}
	delete(v.more, i)
	switch len(next.records) {
	case 0:
	case 1:
		v.cells[i].first = next.records[0]
	default:
		v.more[i] = slices.Clone(next.records)
	}
	return next.contains(&before.value)
}

// clear forgets all records, after a gap.
func (v *view) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.index, v.cells, v.more = map[wire.Identifier]uint32{}, nil, map[uint32][]record{}
}

// contains reports whether each nonce that was used before is used.
func (v *value) contains(before *value) bool {
	if v.removed < before.removed {
		return false
	}
	for i := range before.records {
		old := &before.records[i]
		r := v.find(old.secret)
		if r == nil {
			if v.removed < old.stamp {
				return false
			}
			continue
		}
		w := r.window()
		w.Merge(old.window())
		if r.stamp < old.stamp || w != r.window() {
			return false
		}
	}
	return true
}
