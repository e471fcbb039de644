package web

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// sourceShare is the part of a set that the connections of one address, or /64, can have
// at the expense of others: an eighth.
const sourceShare = 8

// connections is a bounded set of connections. When it is full, a new one takes the
// place of the one that has been silent longest, so that slow clients lock no others
// out; a busy one gives way only if all are, and a kept one only if all are kept. If the
// source of the new one has its share already, one of the same source gives way: so a
// flood from few addresses displaces itself. While the server waits for a client, its
// connection is not busy. It is safe for concurrent use.
type connections struct {
	most int

	mu       sync.Mutex
	order    list.List // of *connection, from the one that has been silent longest
	places   map[net.Conn]*list.Element
	sources  map[netip.Prefix]*list.List // as order; none is empty
	replaced uint64
	closed   bool
}

type connection struct {
	net.Conn
	busy  int  // requests that are being answered, but those that wait for the client
	kept  bool // a client has proved itself
	from  netip.Prefix
	place *list.Element // in order
	own   *list.Element // in the list of its source; nil: it has no source
}

func newConnections(most int) *connections {
	return &connections{most: most, places: make(map[net.Conn]*list.Element, most), sources: make(map[netip.Prefix]*list.List, most)}
}

// sourceOf returns the source of a connection. One of a proxy has none, since its address
// has the connections of many clients.
func sourceOf(c net.Conn, proxy bool) netip.Prefix {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if proxy || err != nil {
		return netip.Prefix{}
	}
	return addressOf(at.Addr().Unmap())
}

// add adds a connection, which may be one of a proxy. It reports whether the set is open;
// if not, it closes the connection.
func (s *connections) add(c net.Conn, proxy bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	added := &connection{Conn: c, from: sourceOf(c, proxy)}
	if s.order.Len() == s.most {
		s.delete(s.victim(added.from))
		s.replaced++
	}
	added.place = s.order.PushBack(added)
	s.places[c] = added.place
	if added.from.IsValid() {
		same := s.sources[added.from]
		if same == nil {
			same = list.New()
			s.sources[added.from] = same
		}
		added.own = same.PushBack(added)
	}
	return true
}

// victim returns the connection that gives way to one from a source.
func (s *connections) victim(from netip.Prefix) *list.Element {
	if same := s.sources[from]; same != nil && same.Len() >= max(1, s.most/sourceShare) {
		if c := firstOf(same); !c.kept {
			return c.place
		}
	}
	return firstOf(&s.order).place
}

// firstOf returns the connection of a list that gives way first.
func firstOf(l *list.List) *connection {
	first := l.Front().Value.(*connection)
	for e := l.Front(); e != nil; e = e.Next() {
		c := e.Value.(*connection)
		if c.busy <= 0 && !c.kept {
			return c
		}
		if first.kept && !c.kept {
			first = c
		}
	}
	return first
}

// keep notes whether the client of a connection has proved itself.
func (s *connections) keep(c net.Conn, kept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.places[c]; e != nil {
		e.Value.(*connection).kept = kept
	}
}

// delete closes a connection.
func (s *connections) delete(e *list.Element) {
	c := s.order.Remove(e).(*connection)
	delete(s.places, c.Conn)
	if c.own != nil {
		same := s.sources[c.from]
		if same.Remove(c.own); same.Len() == 0 {
			delete(s.sources, c.from)
		}
	}
	c.Close()
}

// touch notes that a connection begins to answer (1), has ended to (-1), or both (0).
func (s *connections) touch(c net.Conn, busy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.places[c]; e != nil {
		c := e.Value.(*connection)
		c.busy += busy
		s.order.MoveToBack(e)
		if c.own != nil {
			s.sources[c.from].MoveToBack(c.own)
		}
	}
}

// remove closes a connection.
func (s *connections) remove(c net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.places[c]; e != nil {
		s.delete(e)
		return nil
	}
	return c.Close()
}

// closeAll closes the set and its connections.
func (s *connections) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.order.Len() > 0 {
		s.delete(s.order.Front())
	}
}

func (s *connections) counts() (open int, replaced uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Len(), s.replaced
}
