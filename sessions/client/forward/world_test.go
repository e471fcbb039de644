package forward

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/syserror"
)

// half is one direction of a connection in memory. It blocks as a bubble requires.
type half struct {
	mu   sync.Mutex
	cond *sync.Cond
	data []byte
	eof  bool
	err  error
}

func newHalf() *half {
	h := &half{}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.cond.Broadcast()
}

// conn is one end of a connection in memory.
type conn struct {
	in, out  *half
	deadline time.Time // under in.mu
	linger   atomic.Int64
	closed   bool   // under in.mu
	sent     []byte // under out.mu: all
}

func pair() (a, b *conn) {
	x, y := newHalf(), newHalf()
	a, b = &conn{in: x, out: y}, &conn{in: y, out: x}
	a.linger.Store(-1)
	b.linger.Store(-1)
	return a, b
}

func (c *conn) Read(b []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.in.data) > 0:
			n := copy(b, c.in.data)
			c.in.data = c.in.data[n:]
			return n, nil
		case c.in.err != nil:
			return 0, c.in.err
		case c.in.eof:
			return 0, io.EOF
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		c.in.cond.Wait()
	}
}

func (c *conn) Write(b []byte) (n int, err error) {
	c.out.change(func() {
		if err = c.out.err; err == nil {
			c.out.data = append(c.out.data, b...)
			c.sent = append(c.sent, b...)
			n = len(b)
		}
	})
	return n, err
}

// wrote returns all that was written.
func (c *conn) wrote() (text string) {
	c.out.change(func() { text = string(c.sent) })
	return text
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.deadline = t })
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() { c.in.change(func() {}) })
	}
	return nil
}

func (c *conn) CloseWrite() (err error) {
	c.out.change(func() {
		if c.out.eof = true; c.out.err != nil {
			err = net.ErrClosed
		}
	})
	return err
}

func (c *conn) SetLinger(s int) error {
	c.linger.Store(int64(s))
	return nil
}

func (c *conn) Close() error {
	was := false
	c.in.change(func() {
		was, c.closed = c.closed, true
		if c.in.err == nil {
			c.in.err = syserror.Broken.Err() // for the other side's writer
		}
	})
	if was {
		return net.ErrClosed
	}
	c.out.change(func() {
		if c.linger.Load() == 0 {
			c.out.err = syserror.Reset.Err()
		}
		c.out.eof = true
	})
	return nil
}

func (c *conn) LocalAddr() net.Addr              { return address("10.0.0.1:1000") }
func (c *conn) RemoteAddr() net.Addr             { return address("10.0.0.1:1000") }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

type address string

func (a address) Network() string { return "test" }
func (a address) String() string  { return string(a) }

// listener is a local socket in memory.
type listener struct {
	queue chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newListener() *listener {
	return &listener{queue: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return address("local") }

func (l *listener) connect() *conn {
	a, b := pair()
	l.queue <- b
	return a
}

// remote is a server in memory. A service greets, and then echoes.
type remote struct {
	t       *testing.T
	mu      sync.Mutex
	knocks  []string    // the services of the requests
	began   []time.Time // of the knocks
	open    time.Time   // until then
	openFor time.Duration
	takes   time.Duration // a knock
	err     error         // of knocks
	closed  string        // how a connection to a closed service ends: "drop", "refuse" or "reset"
	rtt     time.Duration
	late    time.Duration // after which a closed service resets, if it is "late"
	greets  string
	dials   atomic.Int64
	plain   atomic.Int64 // connections without a knock that were let in
	kept    atomic.Int64
	nobody  bool // listens on port 81 of the server
	lossy   bool // UDP: nothing answers
	refuses bool // UDP: an ICMP error comes for each datagram
	moved   netip.Addr
	tunnels bool     // a knock opens one connection, and nothing else
	echoed  []string // datagrams that arrived
}

var serverAddress = netip.MustParseAddr("192.0.2.1")

func (w *remote) knock(ctx context.Context, r Request) (Opened, error) {
	w.mu.Lock()
	w.knocks, w.began = append(w.knocks, r.Service), append(w.began, time.Now())
	takes, err := w.takes, w.err
	w.mu.Unlock()
	if err := sleep(ctx, takes); err != nil {
		return Opened{}, err
	}
	if err != nil {
		return Opened{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	wasOpen := time.Now().Before(w.open)
	w.open = time.Now().Add(w.openFor)
	if w.nobody && r.Service == ":81" {
		return Opened{}, w.unserved(ctx, r, wasOpen)
	}
	o := Opened{Server: serverAddress, Service: netip.AddrPortFrom(serverAddress, 80)}
	if w.moved.IsValid() {
		o = Opened{Server: w.moved, Service: netip.AddrPortFrom(w.moved, 80)}
	}
	if r.Keep {
		w.kept.Add(1)
		o.Conn = w.serve()
	}
	if w.tunnels {
		o = Opened{Conn: o.Conn}
	}
	return o, nil
}

// serve returns a connection to the echo.
func (w *remote) serve() *conn {
	a, b := pair()
	go func() {
		io.WriteString(b, w.greets)
		if _, err := io.Copy(b, struct{ io.Reader }{b}); err != nil {
			b.SetLinger(0)
		}
		b.Close()
	}()
	return a
}

func (w *remote) dial(ctx context.Context, network, to string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials.Add(1)
	if network == "udp" {
		return w.flow(to), nil
	}
	w.mu.Unlock()
	err := sleep(ctx, w.rtt)
	w.mu.Lock()
	if err != nil {
		return nil, err
	}
	if w.nobody && to == netip.AddrPortFrom(serverAddress, 81).String() && time.Now().Before(w.open) {
		return nil, syserror.Refused.Err()
	}
	if time.Now().Before(w.open) {
		w.plain.Add(1)
		return w.serve(), nil
	}
	switch w.closed {
	case "refuse":
		return nil, syserror.Refused.Err()
	case "late":
		a, b := pair()
		b.SetLinger(0)
		time.AfterFunc(w.late, func() { b.Close() })
		return a, nil
	case "reset":
		a, b := pair()
		b.SetLinger(0)
		time.AfterFunc(w.rtt, func() { b.Close() })
		return a, nil
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	return nil, ctx.Err()
}

func (w *remote) count() (knocks int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.knocks)
}

// served is a running Serve.
type served struct {
	*remote
	cancel context.CancelFunc
	lock   sync.Mutex
	events []Event
	err    error
	done   chan struct{}
}

// serve starts Serve for routes. It runs within a bubble.
func serve(t *testing.T, w *remote, cfg Config, routes ...Route) *served {
	t.Helper()
	w.t = t
	s := &served{remote: w, done: make(chan struct{})}
	cfg.Knock, cfg.Dial = w.knock, w.dial
	cfg.Report = func(e Event) {
		s.lock.Lock()
		defer s.lock.Unlock()
		s.events = append(s.events, e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() {
		s.err = Serve(ctx, cfg, routes)
		close(s.done)
	}()
	synctest.Wait()
	return s
}

// end ends Serve, which must close all.
func (s *served) end(t *testing.T) {
	t.Helper()
	s.cancel()
	<-s.done
	if s.err != nil {
		t.Errorf("Serve returned %v", s.err)
	}
}

func (s *served) failures() (list []string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, e := range s.events {
		if f, ok := e.(Failed); ok {
			list = append(list, f.Err.Error())
		}
	}
	return list
}

// echoes sends a text over a connection, and reads it back to the end.
func echoes(c *conn, text string) error {
	io.WriteString(c, text)
	c.CloseWrite()
	got, err := io.ReadAll(c)
	c.Close()
	if err == nil && string(got) != text {
		err = fmt.Errorf("got %q, want %q", got, text)
	}
	return err
}

func isReset(err error) bool { return syserror.Reset.In(err) }

func listeners(l ...*listener) (list []net.Listener) {
	for _, l := range l {
		list = append(list, l)
	}
	return list
}
