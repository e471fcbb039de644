package xdp

import (
	"maps"
	"math"
	"slices"

	"sallyport/ingest/prefilter"
	"sallyport/verify/schedule"
)

// rows are the rows of the ports. A port whose places change gets a new row, which is
// complete before the port's number of a row changes: the program sees the places of
// before or of after, never a part of them. A row that has become free is used again
// as late as possible, so that no processor still reads it.
type rows struct {
	byPort map[uint16]usedRow
	free   []uint16 // in the order in which they are used
}

type usedRow struct {
	number uint16
	places [RowPlaces]uint64
}

func newRows() rows {
	r := rows{byPort: map[uint16]usedRow{}}
	for n := uint16(1); n < Rows; n++ {
		r.free = append(r.free, n)
	}
	return r
}

// setPorts gives each port of the table its places. A port for which no row is left is
// not in the program's table: its datagrams go to the socket.
func (s *Shield) setPorts(t prefilter.Table) {
	for port, places := range t.Ports {
		words := packRow(places, t.Maximum)
		used, has := s.rows.byPort[port]
		switch {
		case has && used.places == words:
			continue
		case len(s.rows.free) == 0:
			s.dropRow(port)
			continue
		}
		n := s.rows.free[0]
		s.rows.free = s.rows.free[1:]
		for i, w := range words {
			s.arrays.rows[n][i].Store(w)
			s.stored()
		}
		s.setPort(port, n)
		s.rows.byPort[port] = usedRow{n, words}
		if has {
			s.rows.free = append(s.rows.free, used.number)
		}
	}
	for port := range s.rows.byPort {
		if _, stays := t.Ports[port]; !stays {
			s.dropRow(port)
		}
	}
}

func (s *Shield) dropRow(port uint16) {
	if used, has := s.rows.byPort[port]; has {
		s.setPort(port, 0)
		delete(s.rows.byPort, port)
		s.rows.free = append(s.rows.free, used.number)
	}
}

func (s *Shield) setPort(port, row uint16) {
	word, shift := &s.ports[port/4], port%4*16
	word.Store(word.Load()&^(0xffff<<shift) | uint64(row)<<shift)
	s.stored()
}

func samePlaces(a, b map[uint16][]schedule.Place) bool { return maps.EqualFunc(a, b, slices.Equal) }

// packRow returns the words of a row. Places that differ only in their port secret are
// one. If the row has no room for all, its datagrams go to the socket.
func packRow(places []schedule.Place, maximum int8) (words [RowPlaces]uint64) {
	n := 0
	for _, p := range places {
		w := PackPlace(p, maximum)
		switch {
		case w == 0 || slices.Contains(words[:n], w):
			continue
		case w == PlaceSocket || n == len(words):
			return [RowPlaces]uint64{PlaceSocket}
		}
		words[n] = w
		n++
	}
	return words
}

// PackPlace returns the word of a place, for a maximum or prefilter.AnyMaximum. It
// returns 0 if no knock can have this place, and PlaceSocket if its minute has seconds
// that no timestamp has, at either end of time.
func PackPlace(p schedule.Place, maximum int8) uint64 {
	lowest, highest := maximum, maximum
	if maximum == prefilter.AnyMaximum {
		lowest, highest = 0, math.MaxInt8
	}
	first, last := p.Minute.Bounds()
	switch {
	case p.Index < 0 || p.Index > highest:
		return 0
	case first < 0 || last > math.MaxUint32:
		return PlaceSocket
	}
	return PlaceValid | uint64(first) | uint64(p.Index)<<PlaceIndex |
		uint64(lowest)<<PlaceLowest | uint64(highest)<<PlaceHighest
}
