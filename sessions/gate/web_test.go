package gate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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

// dial connects from an address; nil if nobody listens.
func (n *network) dial(from string) net.Conn {
	if !n.listening.Load() {
		return nil
	}
	ours, theirs := net.Pipe()
	addr := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 4711))
	n.current.conns <- memoryConn{theirs, addr}
	return ours
}

// get asks for a page on a connection: its status, or 0 if it was cut.
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

func bubble(t *testing.T, anyone bool, f func(t *testing.T, w *Web, n *network)) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		w := NewWeb(WebConfig{
			Terms: WebTerms{OpenFor: 10 * time.Second, OpenMax: 25 * time.Second, Anyone: anyone, Handler: Pages()},
			Log:   slog.New(slog.DiscardHandler), ListenFunc: n.listen,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		f(t, w, n)
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
	bubble(t, false, func(t *testing.T, w *Web, n *network) {
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
	bubble(t, false, func(t *testing.T, w *Web, n *network) {
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
	bubble(t, false, func(t *testing.T, w *Web, n *network) {
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
			t.Error("first, anew: served")
		}
	})
}

func TestWebCutsWhoGaveWay(t *testing.T) {
	bubble(t, false, func(t *testing.T, w *Web, n *network) {
		w.Open(grant("com1", "192.0.2.100"))
		c := n.dial("192.0.2.100")
		for i := range maxAddresses {
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
	bubble(t, true, func(t *testing.T, w *Web, n *network) {
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
	bubble(t, false, func(t *testing.T, w *Web, n *network) {
		w.Open(grant("stay", "192.0.2.1"))
		w.Open(grant("left", "192.0.2.2"))
		stay, left := n.dial("192.0.2.1"), n.dial("192.0.2.2")
		if get(stay, "/test1.html") != 200 || get(left, "/test1.html") != 200 {
			t.Fatal("not served")
		}
		stays := func(id wire.Identifier) bool { return id.String() == "stay" }
		gone := WebTerms{OpenFor: time.Second, OpenMax: time.Minute, Handler: http.NotFoundHandler()}
		w.Update(gone, stays)
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
		// With the last lease gone, nobody listens, at once.
		w.Open(grant("stay", "192.0.2.1"))
		w.Update(gone, func(wire.Identifier) bool { return false })
		if n.listening.Load() {
			t.Error("listens without a lease")
		}
		// From anyone to the knocker only: strangers are cut.
		w.Update(WebTerms{OpenFor: time.Minute, OpenMax: time.Minute, Anyone: true, Handler: Pages()}, stays)
		w.Open(grant("stay", "192.0.2.1"))
		stranger := n.dial("192.0.2.9")
		if got := get(stranger, "/test1.html"); got != 200 {
			t.Errorf("anyone: %d", got)
		}
		w.Update(WebTerms{OpenFor: time.Minute, OpenMax: time.Minute, Handler: Pages()}, stays)
		if got := get(stranger, "/test1.html"); got != 0 {
			t.Errorf("no longer anyone: %d", got)
		}
	})
}

func TestWebThatCannotListen(t *testing.T) {
	bubble(t, false, func(t *testing.T, w *Web, n *network) {
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
	w := NewWeb(WebConfig{Listen: address, Terms: WebTerms{OpenFor: time.Minute, OpenMax: time.Minute, Handler: Pages()}, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Fatal("listens without a lease")
	}
	// Open for another address only: a stranger gets not one byte.
	if err := w.Open(grant("com1", "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	// The reset may be here before the connection is reported.
	if stranger, err := net.Dial("tcp", address); err == nil {
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
	if got := get(c, "/test1.html"); got != 200 {
		t.Errorf("status %d", got)
	}
	// An endless download ends with the gate.
	io.WriteString(c, "GET /testData.dat HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.CopyN(io.Discard, c, 10<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	// What the kernel still held for the client does not come after the end.
	if n, err := io.Copy(io.Discard, c); err == nil || n > 4<<20 {
		t.Errorf("%d bytes after the end, then %v", n, err)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("listens after Run has returned")
	}
}

func TestBindable(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := Bindable(address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("held by another: %v", err)
	}
	l.Close()
	if err := Bindable(address); err != nil {
		t.Errorf("free: %v", err)
	}
	for address, want := range map[string]error{"[::1]:0": nil, ":0": nil, "[::]:0": nil, "192.0.2.1:0": syscall.EADDRNOTAVAIL} {
		if err := Bindable(address); !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestGuardBoundsConnections(t *testing.T) {
	g := newGuard(nil, func(netip.Addr) bool { return true })
	var last *guarded
	for i := range maxConnections + 1 {
		ours, _ := net.Pipe()
		c, ok := g.admit(ours, netip.Addr{})
		if ok != (i < maxConnections) {
			t.Fatalf("connection %d: %v", i, ok)
		}
		if ok {
			last = c
		}
	}
	last.Close()
	if _, ok := g.admit(last.Conn, netip.Addr{}); !ok {
		t.Error("a closed connection still counts")
	}
}

func TestPages(t *testing.T) {
	h := Pages()
	for path, want := range map[string]int{
		"/test1.html": 200, "/test2.html": 200, "/test3.html": 200,
		"/": 404, "/test4.html": 404, "/pages/test1.html": 404, "/test1.html/": 404,
	} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest("GET", path, nil))
		if r.Code != want {
			t.Errorf("%s: %d, want %d", path, r.Code, want)
		}
		if want == 200 && !strings.Contains(r.Body.String(), "You knocked correctly") {
			t.Errorf("%s: %s", path, r.Body)
		}
	}
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest("HEAD", "/testData.dat", nil))
	if r.Code != 200 || r.Body.Len() != 0 {
		t.Errorf("HEAD of the endless file: %d, %d bytes", r.Code, r.Body.Len())
	}
	r = httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest("POST", "/test1.html", nil))
	if r.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.Code)
	}
}

func TestDirectory(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	for path, text := range map[string]string{filepath.Join(outside, "secret"): "no", filepath.Join(dir, "page.html"): "yes"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	h, err := Directory(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/page.html": "yes", "/link": "", "/../secret": "", "/none": ""} {
		r := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/", nil)
		req.URL.Path = path
		h.ServeHTTP(r, req)
		if served := r.Code == 200; served != (want != "") || served && r.Body.String() != want {
			t.Errorf("%s: %d %s", path, r.Code, r.Body)
		}
	}
	if _, err := Directory(filepath.Join(dir, "page.html")); err == nil {
		t.Error("a file was taken for a directory")
	}
	if _, err := Directory(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing directory accepted")
	}
}
