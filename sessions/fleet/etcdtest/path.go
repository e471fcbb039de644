package etcdtest

import (
	"net"
	"sync"
	"time"
)

// Path passes the bytes of connections between two ends.
type Path struct {
	mu          sync.Mutex
	cut         bool
	connections map[*connection]bool
	there, back way
}

// way is one direction of a Path.
type way struct {
	mu    sync.Mutex
	delay time.Duration
	free  chan struct{} // nil: the bytes pass; closed when they do again
}

// connection is two sockets that a Path joins.
type connection struct {
	dialer, target net.Conn
	ended          chan struct{}
	end            func()
}

// Cut ends the connections of the path, and refuses new ones.
func (p *Path) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.connections {
		c.end()
	}
}

// Hold keeps the bytes of a direction, or of both, as a network does that drops
// packets. "There" is from the gateway, or from the member with the lower number.
func (p *Path) Hold(there, back bool) {
	p.there.hold(there)
	p.back.hold(back)
}

// Delay adds latency to both directions.
func (p *Path) Delay(d time.Duration) {
	p.there.set(d)
	p.back.set(d)
}

// Heal ends Cut, Hold and Delay. The bytes that were held pass.
func (p *Path) Heal() {
	p.mu.Lock()
	p.cut = false
	p.mu.Unlock()
	p.Hold(false, false)
	p.Delay(0)
}

func (w *way) hold(held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case held && w.free == nil:
		w.free = make(chan struct{})
	case !held && w.free != nil:
		close(w.free)
		w.free = nil
	}
}

func (w *way) set(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = d
}

// wait waits until bytes may pass. It reports whether the connection lives.
func (w *way) wait(ended <-chan struct{}) bool {
	w.mu.Lock()
	delay := w.delay
	w.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ended:
			return false
		}
	}
	for {
		w.mu.Lock()
		free := w.free
		w.mu.Unlock()
		if free == nil {
			return true
		}
		select {
		case <-free:
		case <-ended:
			return false
		}
	}
}

// join passes bytes between two sockets until one ends. If the dialer is at the far
// end of the path, its bytes go back.
func (p *Path) join(dialer, target net.Conn, reverse bool) {
	c := &connection{dialer: dialer, target: target, ended: make(chan struct{})}
	c.end = sync.OnceFunc(func() {
		close(c.ended)
		dialer.Close()
		target.Close()
	})
	p.mu.Lock()
	if p.cut {
		c.end()
	} else {
		if p.connections == nil {
			p.connections = map[*connection]bool{}
		}
		p.connections[c] = true
	}
	p.mu.Unlock()
	there, back := &p.there, &p.back
	if reverse {
		there, back = back, there
	}
	go c.pass(target, dialer, there)
	c.pass(dialer, target, back)
	p.mu.Lock()
	delete(p.connections, c)
	p.mu.Unlock()
}

func (c *connection) pass(to, from net.Conn, w *way) {
	defer c.end()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !w.wait(c.ended) {
			return
		}
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}
