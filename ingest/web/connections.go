package web

import (
	"net"
	"sync"
)

// connections is a bounded set of connections. When it is full, a new one takes the
// place of the one that has been silent longest, so that slow clients lock no others
// out. It is safe for concurrent use.
type connections struct {
	most int

	mu       sync.Mutex
	open     []net.Conn // from the one that has been silent longest
	replaced uint64
	closed   bool
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
	if len(s.open) == s.most {
		s.open[0].Close()
		s.open = append(s.open[:0], s.open[1:]...)
		s.replaced++
	}
	s.open = append(s.open, c)
	return true
}

// take removes a connection from the list, and reports whether it was there.
func (s *connections) take(c net.Conn) bool {
	for i, open := range s.open {
		if open == c {
			s.open = append(s.open[:i], s.open[i+1:]...)
			return true
		}
	}
	return false
}

// touch notes that a connection has done something.
func (s *connections) touch(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.take(c) {
		s.open = append(s.open, c)
	}
}

// remove closes a connection.
func (s *connections) remove(c net.Conn) {
	s.mu.Lock()
	s.take(c)
	s.mu.Unlock()
	c.Close()
}

// closeAll closes the set and its connections.
func (s *connections) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.open {
		c.Close()
	}
}

func (s *connections) counts() (open int, replaced uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open), s.replaced
}
