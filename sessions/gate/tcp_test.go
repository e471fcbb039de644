package gate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// network has one address, in memory, so that timers can run in a bubble.
type network struct {
	listening atomic.Bool
	fail      error
	current   *memoryListener
}

type memoryListener struct {
	network *network
	conns   chan net.Conn
	closed  chan struct{}
}

type memoryConn struct {
	net.Conn
	from net.Addr
}

func (c memoryConn) RemoteAddr() net.Addr { return c.from }

func (n *network) listen(string, string) (net.Listener, error) {
	if n.fail != nil {
		return nil, n.fail
	}
	n.current = &memoryListener{n, make(chan net.Conn), make(chan struct{})}
	n.listening.Store(true)
	return n.current, nil
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.network.listening.Store(false)
	close(l.closed)
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects from an address; nil if no socket listens.
func (n *network) dial(from string) net.Conn {
	if !n.listening.Load() {
		return nil
	}
	ours, theirs := net.Pipe()
	addr := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 4711))
	select {
	case n.current.conns <- memoryConn{theirs, addr}:
		return ours
	case <-n.current.closed: // after listening was loaded
		return nil
	}
}

// get requests a page on a connection, and returns its status, or 0 if the
// connection was cut.
func get(c net.Conn, path string) int {
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return 0
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, r.Body)
	return r.StatusCode
}

// stage is a service with a web server, on a network in memory.
type stage struct {
	gate *Service
	net  *network
	tcp  *TCP
	web  *Web
	host *clocktest.Host
}

func bubble(t *testing.T, anyone bool, f func(t *testing.T, s stage)) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		log := slog.New(slog.DiscardHandler)
		web := NewWeb(Content{Handler: Pages()}, log)
		host := clocktest.NewHost()
		d := NewTCP(TCPConfig{PrefixLen6: 128, PerAddress: 64, Handler: web, Clock: host.Clock(), Log: log, ListenFunc: n.listen})
		w := NewService(ServiceConfig{
			Name: "web", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: 25 * time.Second, Anyone: anyone, Cut: true, Addresses: 8},
			Enforcers: []access.Enforcer{d}, Clock: host.Clock(), Log: log,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		f(t, stage{w, n, d, web, host})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n.listening.Load() {
			t.Error("listens after Run has returned")
		}
		if err := w.Open(grant("com1", "192.0.2.1")); !errors.Is(err, ErrClosed) || n.listening.Load() {
			t.Errorf("opened after Run has returned: %v", err)
		}
	})
}

func TestWebListensWhileALeaseRuns(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		synctest.Wait()
		if n.listening.Load() {
			t.Fatal("listens without a lease")
		}
		if err := w.Open(grant("com1", "192.0.2.1")); err != nil {
			t.Fatal(err)
		}
		// A mapped address is the same address.
		c := n.dial("::ffff:192.0.2.1")
		if got := get(c, "/test1.html"); got != 200 {
			t.Errorf("granted address: %d", got)
		}
		if stranger := n.dial("192.0.2.2"); get(stranger, "/test1.html") != 0 {
			t.Error("a stranger was served")
		}
		time.Sleep(10*time.Second - 1)
		if got := get(c, "/test2.html"); got != 200 {
			t.Errorf("within the lease: %d", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n.listening.Load() {
			t.Error("listens after the lease")
		}
		if got := get(c, "/test3.html"); got != 0 {
			t.Errorf("after the lease, on a running connection: %d", got)
		}
	})
}

func TestWebExtendsALease(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		for range 5 {
			w.Open(grant("com1", "192.0.2.1"))
		}
		time.Sleep(25*time.Second - 1)
		synctest.Wait()
		if !n.listening.Load() {
			t.Error("closed too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n.listening.Load() {
			t.Error("open beyond the maximum")
		}
	})
}

func TestWebCutsOnlyWhoseLeaseIsOver(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		w.Open(grant("com1", "192.0.2.1"))
		time.Sleep(5 * time.Second)
		w.Open(grant("com2", "2001:db8::2"))
		one, two := n.dial("192.0.2.1"), n.dial("2001:db8::2")
		if get(one, "/test1.html") != 200 || get(two, "/test1.html") != 200 {
			t.Fatal("not served")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := get(one, "/test1.html"); got != 0 {
			t.Errorf("first, after its lease: %d", got)
		}
		if got := get(two, "/test1.html"); got != 200 {
			t.Errorf("second, within its lease: %d", got)
		}
		if late := n.dial("192.0.2.1"); get(late, "/test1.html") != 0 {
			t.Error("first, again: served")
		}
	})
}

func TestWebCutsWhoGaveWay(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		w.Open(grant("com1", "192.0.2.100"))
		c := n.dial("192.0.2.100")
		for i := range 8 {
			time.Sleep(time.Millisecond)
			if got := get(c, "/test1.html"); got != 200 {
				t.Fatalf("before address %d: %d", i, got)
			}
			w.Open(grant("com1", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()))
		}
		if got := get(c, "/test1.html"); got != 0 {
			t.Errorf("after: %d", got)
		}
	})
}

func TestWebForAnyone(t *testing.T) {
	bubble(t, true, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		w.Open(grant("com1", "192.0.2.1"))
		if got := get(n.dial("192.0.2.2"), "/test1.html"); got != 200 {
			t.Errorf("another address: %d", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n.listening.Load() {
			t.Error("listens after the lease")
		}
	})
}

func TestWebUpdate(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		w.Open(grant("stay", "192.0.2.1"))
		w.Open(grant("left", "192.0.2.2"))
		stay, left := n.dial("192.0.2.1"), n.dial("192.0.2.2")
		if get(stay, "/test1.html") != 200 || get(left, "/test1.html") != 200 {
			t.Fatal("not served")
		}
		stays := func(id wire.Identifier) bool { return id.String() == "stay" }
		gone := LeasePolicy{OpenFor: time.Second, OpenMax: time.Minute, Cut: true, Addresses: 8}
		w.update(t, gone, stays)
		s.web.Update(Content{Handler: http.NotFoundHandler()})
		if got := get(left, "/test1.html"); got != 0 {
			t.Errorf("a revoked client: %d", got)
		}
		if got := get(stay, "/test1.html"); got != 404 {
			t.Errorf("one that stays, with another handler: %d", got)
		}
		time.Sleep(10*time.Second - 1)
		if !n.listening.Load() {
			t.Error("the running lease was cut short")
		}
		w.Open(grant("stay", "192.0.2.3"))
		time.Sleep(time.Second)
		synctest.Wait()
		if n.listening.Load() {
			t.Error("a new lease took the old terms")
		}
		// After the last lease nothing listens, immediately.
		w.Open(grant("stay", "192.0.2.1"))
		w.update(t, gone, func(wire.Identifier) bool { return false })
		if n.listening.Load() {
			t.Error("listens without a lease")
		}
		// From anyone to the knocker only: strangers are cut off, the knocker
		// is not.
		s.web.Update(Content{Handler: Pages()})
		terms := LeasePolicy{OpenFor: time.Minute, OpenMax: time.Minute, Anyone: true, Cut: true, Addresses: 8}
		w.update(t, terms, stays)
		w.Open(grant("stay", "192.0.2.1"))
		stranger, knocker := n.dial("192.0.2.9"), n.dial("192.0.2.1")
		if get(stranger, "/test1.html") != 200 || get(knocker, "/test1.html") != 200 {
			t.Error("anyone: not served")
		}
		terms.Anyone = false
		w.update(t, terms, stays)
		if got := get(stranger, "/test1.html"); got != 0 {
			t.Errorf("no longer anyone: %d", got)
		}
		if got := get(knocker, "/test1.html"); got != 200 {
			t.Errorf("no longer anyone, the knocker: %d", got)
		}
		// And back.
		terms.Anyone = true
		w.update(t, terms, stays)
		if got := get(n.dial("192.0.2.9"), "/test1.html"); got != 200 {
			t.Errorf("anyone again: %d", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n.listening.Load() {
			t.Error("listens after the lease")
		}
	})
}

func TestConnectionsThatAreKept(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		terms := LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 8}
		w.update(t, terms, anyClient)
		w.Open(grant("com1", "192.0.2.1"))
		c := n.dial("192.0.2.1")
		if got := get(c, "/test1.html"); got != 200 {
			t.Fatalf("within the lease: %d", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n.listening.Load() {
			t.Error("listens after the lease")
		}
		if got := get(c, "/test2.html"); got != 200 {
			t.Errorf("a connection from before: %d", got)
		}
		// A revoked client loses it all the same.
		w.Open(grant("com1", "192.0.2.1"))
		w.update(t, terms, func(wire.Identifier) bool { return false })
		if got := get(c, "/test3.html"); got != 0 {
			t.Errorf("of a revoked client: %d", got)
		}
	})
}

func TestAddressOfTwoClients(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		w.Open(grant("com1", "192.0.2.1"))
		w.Open(grant("com1", "192.0.2.1"))
		time.Sleep(time.Second)
		w.Open(grant("com2", "192.0.2.1"))
		c := n.dial("192.0.2.1")
		if got := get(c, "/test1.html"); got != 200 {
			t.Fatalf("granted: %d", got)
		}
		// The first client's longer lease ends with it: the other's continues.
		w.update(t, s.gate.terms, func(id wire.Identifier) bool { return id == client(2) })
		if got := get(c, "/test1.html"); got != 200 {
			t.Errorf("of the client that stays: %d", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n.listening.Load() {
			t.Error("listens after the last lease")
		}
	})
}

func TestConnectionsOfAnAddress(t *testing.T) {
	n := &network{}
	hold := make(chan net.Conn)
	d := NewTCP(TCPConfig{PrefixLen6: 64, PerAddress: 2, Clock: system, Handler: holding(hold), Log: slog.New(slog.DiscardHandler), ListenFunc: n.listen})
	defer d.Close()
	until := system.Boot().Add(time.Hour)
	for _, a := range []string{"2001:db8::", "192.0.2.1"} {
		change := access.Change{Peer: access.PeerOf(netip.MustParseAddr(a), 64), Until: until}
		if errs := d.Apply([]access.Change{change}); errs != nil {
			t.Fatal(errs)
		}
	}
	served := func(from string) (net.Conn, bool) {
		c := n.dial(from)
		ended := make(chan bool, 1)
		go func() {
			c.Read(make([]byte, 1))
			ended <- true
		}()
		select {
		case in := <-hold:
			return in, true
		case <-ended:
			return nil, false
		}
	}
	first, ok := served("2001:db8::1")
	if !ok {
		t.Fatal("the first was refused")
	}
	if _, ok := served("2001:db8::2"); !ok {
		t.Fatal("the second was refused")
	}
	if _, ok := served("2001:db8::3"); ok {
		t.Error("a third one of the same network was let in")
	}
	if _, ok := served("192.0.2.1"); !ok {
		t.Error("another client was refused")
	}
	first.Close()
	if _, ok := served("2001:db8::3"); !ok {
		t.Error("a closed connection still counts")
	}
}

// holding passes on the connections that it must serve.
type holding chan net.Conn

func (h holding) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		h <- c
	}
}

func TestWebThatCannotListen(t *testing.T) {
	bubble(t, false, func(t *testing.T, s stage) {
		w, n := s.gate, s.net
		n.fail = errors.New("address in use")
		if err := w.Open(grant("com1", "192.0.2.1")); !errors.Is(err, n.fail) {
			t.Fatalf("got %v", err)
		}
		if w.leases.Len() != 0 {
			t.Error("a lease without a listener")
		}
		n.fail = nil
		if err := w.Open(grant("com1", "192.0.2.1")); err != nil {
			t.Fatal(err)
		}
		if got := get(n.dial("192.0.2.1"), "/test1.html"); got != 200 {
			t.Errorf("at the second grant: %d", got)
		}
	})
}

func TestWebOnARealSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	log := slog.New(slog.DiscardHandler)
	d := NewTCP(TCPConfig{Listen: address, PrefixLen6: 128, PerAddress: 64, Clock: system, Handler: NewWeb(Content{Handler: Pages()}, log), Log: log})
	w := NewService(ServiceConfig{
		Name: "web", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: time.Minute, OpenMax: time.Minute, Cut: true, Addresses: 8},
		Enforcers: []access.Enforcer{d}, Clock: system, Log: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Fatal("listens without a lease")
	}
	// Open for another address only: a stranger gets no byte.
	if err := w.Open(grant("com1", "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	// The kernel lets the stranger wait, or, where the process may not set the
	// filter, the enforcer resets the connection, perhaps before it is
	// reported.
	if stranger, err := net.DialTimeout("tcp", address, 200*time.Millisecond); err == nil {
		if n, err := stranger.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("a stranger read %d bytes, %v", n, err)
		}
	}
	if err := w.Open(grant("com1", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	// This limits what the client's kernel may buffer.
	if err := c.(*net.TCPConn).SetReadBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	if got := get(c, "/test1.html"); got != 200 {
		t.Errorf("status %d", got)
	}
	// An endless download ends when the gate closes.
	io.WriteString(c, "GET /testData.dat HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.CopyN(io.Discard, c, 10<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	// Bytes that the kernel still held for the client do not arrive after the
	// end.
	if n, err := io.Copy(io.Discard, c); err == nil || n > 4<<20 {
		t.Errorf("%d bytes after the end, then %v", n, err)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("listens after Run has returned")
	}
}

// TestLostSocket: a socket that is made again for an admitted client admits it.
func TestLostSocket(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	d := NewTCP(TCPConfig{Listen: "127.0.0.1:0", PrefixLen6: 128, PerAddress: 64, Clock: system, Handler: NewWeb(Content{Handler: Pages()}, log), Log: log})
	defer d.Close()
	for range 2 {
		change := access.Change{Peer: peer("127.0.0.1"), Until: system.Boot().Add(time.Minute)}
		if errs := d.Apply([]access.Change{change}); errs != nil {
			t.Fatal(errs)
		}
		d.mu.Lock()
		address := d.listener.Addr().String()
		d.mu.Unlock()
		c, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if got := get(c, "/test1.html"); got != 200 {
			t.Errorf("status %d", got)
		}
		c.Close()
		d.mu.Lock()
		d.closeSocket()
		d.mu.Unlock()
	}
}
