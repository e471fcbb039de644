package web

import (
	"container/list"
	"net"
	"sync"
)

// connections is a bounded set of connections. When it is full, a new one takes the
// place of the one that has been silent longest, so that slow clients lock no others
// out; a busy one gives way only if all are, and a kept one only if all are kept. While
// the server waits for a client, its connection is not busy. It is safe for concurrent use.
type connections struct {
	most int

	mu       sync.Mutex
	order    list.List // of *connection, from the one that has been silent longest
	places   map[net.Conn]*list.Element
	replaced uint64
	closed   bool
}

type connection struct {
	net.Conn
	busy int  // requests that are being answered, but those that wait for the client
	kept bool // a client has proved itself
}

func newConnections(most int) *connections {
	return &connections{most: most, places: make(map[net.Conn]*list.Element, most)}
}

// add adds a connection. It reports whether the set is open; if not, it closes the
// connection.
func (s *connections) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	if s.order.Len() == s.most {
		s.delete(s.victim())
		s.replaced++
	}
	s.places[c] = s.order.PushBack(&connection{Conn: c})
	return true
}

// victim returns the connection that gives way.
func (s *connections) victim() *list.Element {
	first := s.order.Front()
	for e := first; e != nil; e = e.Next() {
		c := e.Value.(*connection)
		if c.busy <= 0 && !c.kept {
			return e
		}
		if first.Value.(*connection).kept && !c.kept {
			first = e
		}
	}
	return first
}

// keep notes that the client of a connection has proved itself.
func (s *connections) keep(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.places[c]; e != nil {
		e.Value.(*connection).kept = true
	}
}

// delete closes a connection.
func (s *connections) delete(e *list.Element) {
	c := s.order.Remove(e).(*connection)
	delete(s.places, c.Conn)
	c.Close()
}

// touch notes that a connection begins to answer (1), has ended to (-1), or both (0).
func (s *connections) touch(c net.Conn, busy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.places[c]; e != nil {
		e.Value.(*connection).busy += busy
		s.order.MoveToBack(e)
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
