package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// carried is a real connection through Serve: from a local program to a service.
type carried struct{ program, service *net.TCPConn }

// front is Serve with real sockets, whose service is back. The lease is open.
type front struct {
	t    *testing.T
	at   net.Addr
	back net.Listener
	stop func()

	granted bool
}

func newFront(t *testing.T) *front { return newFrontAt(t, listen(t), true) }

func newFrontAt(t *testing.T, local net.Listener, granted bool) *front {
	t.Helper()
	back := listen(t)
	to := back.Addr().(*net.TCPAddr).AddrPort()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, Config{
			Knock: func(ctx context.Context, r Request) (Opened, error) {
				return Opened{Server: to.Addr(), Service: to}, nil
			},
			OpenFor: time.Hour,
		}, []Route{{Service: fmt.Sprintf(":%d", to.Port()), Granted: granted, Streams: []net.Listener{local}}})
	}()
	f := &front{t: t, granted: granted, at: local.Addr(), back: back}
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		f.stop = func() {}
	}
	t.Cleanup(func() { f.stop() })
	return f
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (f *front) connect() carried {
	f.t.Helper()
	a, err := net.Dial("tcp", f.at.String())
	if err != nil {
		f.t.Fatal(err)
	}
	b, err := f.back.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { a.Close(); b.Close() })
	a.SetDeadline(netns.Deadline(f.t))
	b.SetDeadline(netns.Deadline(f.t))
	if !f.granted {
		time.Sleep(50 * time.Millisecond) // the connection proves itself by lasting
	}
	// A service that resets the connection before gets another one.
	b.Write([]byte("x"))
	if _, err := a.Read(make([]byte, 1)); err != nil {
		f.t.Fatal(err)
	}
	return carried{a.(*net.TCPConn), b.(*net.TCPConn)}
}

// TestHalfClose: each side can end its direction, and still receives.
func TestHalfClose(t *testing.T) {
	f := newFront(t)
	for _, first := range []string{"program", "service"} {
		c := f.connect()
		a, b := c.program, c.service
		if first == "service" {
			a, b = b, a
		}
		sent := make([]byte, 1<<20)
		rand.Read(sent)
		for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
			go func() {
				way[0].Write(sent)
				way[0].CloseWrite()
			}()
			if got, err := io.ReadAll(way[1]); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s first: %d bytes, %v", first, len(got), err)
			}
		}
	}
}

// TestResetsPass: a reset of one side resets the other, also after an end of file, and
// while neither side sends.
func TestResetsPass(t *testing.T) {
	for _, granted := range []bool{true, false} {
		testResetsPass(t, newFrontAt(t, listen(t), granted))
	}
}

func testResetsPass(t *testing.T, f *front) {
	for _, by := range []string{"program", "service"} {
		for _, ended := range []bool{false, true} {
			c := f.connect()
			a, b := c.program, c.service
			if by == "service" {
				a, b = b, a
			}
			if ended {
				a.CloseWrite()
				if _, err := b.Read(make([]byte, 1)); err != io.EOF {
					t.Fatal(err)
				}
			}
			a.SetLinger(0)
			a.Close()
			if !ended {
				if _, err := b.Read(make([]byte, 1)); !isReset(err) {
					t.Errorf("the %s resets: the other side sees %v", by, err)
				}
				continue
			}
			// It has read an end of file, and sends nothing.
			if _, reset := waitForEnd(b); !reset {
				t.Errorf("the %s resets after its end of file: the other side sees nothing", by)
			}
		}
	}
}

// TestUnixSocket: a program at a Unix socket that has closed it leaves nothing behind,
// although the service is silent.
func TestUnixSocket(t *testing.T) {
	local, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	f := newFrontAt(t, local, true)
	program, err := net.Dial("unix", f.at.String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(program, "text")
	service, err := f.back.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	io.WriteString(service, "answer")
	if _, err := io.ReadFull(program, make([]byte, 6)); err != nil {
		t.Error(err)
	}
	open := runtime.NumGoroutine()
	program.Close()
	if got, err := io.ReadAll(service); err != nil || string(got) != "text" {
		t.Errorf("the service got %q, %v", got, err)
	}
	netns.Until(t, "the end of the connection", func() bool { return runtime.NumGoroutine() <= open-3 })
}

// TestBackpressure: a side that does not read stops the other one.
func TestBackpressure(t *testing.T) {
	f := newFront(t)
	c := f.connect()
	c.program.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	n, err := io.Copy(c.program, io.LimitReader(endless{}, 1<<30))
	if err == nil {
		t.Fatalf("wrote %d bytes that nobody reads", n)
	}
	if got, err := io.CopyN(io.Discard, c.service, n); err != nil || got != n {
		t.Errorf("then %d of %d bytes arrived, %v", got, n, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestSplice: the bytes do not pass through the memory of the process: the kernel counts
// what it reads. The receiver reads all bytes once, a copy would read them again.
func TestSplice(t *testing.T) {
	const n = 32 << 20
	f := newFront(t)
	c := f.connect()
	for name, way := range map[string][2]*net.TCPConn{"to the service": {c.program, c.service}, "to the program": {c.service, c.program}} {
		before := bytesRead(t)
		go io.CopyN(way[0], endless{}, n)
		if _, err := io.CopyN(io.Discard, struct{ io.Reader }{way[1]}, n); err != nil {
			t.Fatal(err)
		}
		if read := bytesRead(t) - before; read >= n+n/2 {
			t.Errorf("%s: %d bytes read for %d", name, read, n)
		}
	}
}

func bytesRead(t *testing.T) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skipf("the kernel does not count what is read: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "rchar: %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no count in %q", b)
	return 0
}

// TestNothingLeaks: after connections that end in each way, no goroutine and no
// descriptor is left.
func TestNothingLeaks(t *testing.T) {
	f := newFront(t)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	settle := func(what string, goroutines, fds int) {
		t.Helper()
		netns.Until(t, what, func() bool {
			runtime.GC() // which closes the unused pipes of splice(2)
			return runtime.NumGoroutine() <= goroutines && descriptors() <= fds
		},
			func() string {
				return fmt.Sprintf("%d goroutines, %d descriptors", runtime.NumGoroutine(), descriptors())
			})
	}
	first := f.connect()
	before := runtime.NumGoroutine()
	first.program.Close()
	first.service.Close()
	netns.Until(t, "the end of the first connection", func() bool { return runtime.NumGoroutine() < before })
	time.Sleep(100 * time.Millisecond)
	goroutines, fds := runtime.NumGoroutine(), descriptors()
	for i := range 90 {
		c := f.connect()
		c.program.Write([]byte("x"))
		for _, side := range [][2]*net.TCPConn{{c.program, c.service}, {c.service, c.program}}[i%2] {
			if i%3 == 0 {
				side.SetLinger(0)
			}
			side.Close()
		}
	}
	settle("the end of all connections", goroutines, fds)
	open := f.connect()
	f.stop()
	if _, err := io.ReadAll(open.program); !isReset(err) {
		t.Errorf("at the end, the program sees %v", err)
	}
}

// TestRealDatagrams: over real sockets, each size arrives unchanged, and the answers
// come from the address to which the program sends. A service that is refused at first
// gets the later datagrams.
func TestRealDatagrams(t *testing.T) {
	probe, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	probe.Close()
	sockets, err := Listen(t.Context(), Word{Local: netip.MustParseAddr("127.0.0.2"), UDP: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	knock := func(context.Context, Request) (Opened, error) { return Opened{Server: to.Addr(), Service: to}, nil }
	go func() {
		done <- Serve(ctx, Config{Knock: knock, OpenFor: time.Hour}, []Route{{Service: ":1/udp", Packets: sockets.Packets}})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	c, err := net.Dial("udp", sockets.Local[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		c.Write([]byte("too early"))
		time.Sleep(10 * time.Millisecond)
	}
	echo, err := net.ListenPacket("udp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		b := make([]byte, maxDatagram)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			echo.WriteTo(b[:n], from)
		}
	}()
	for _, n := range []int{1, 0, 1400, 65507} {
		sent, got := make([]byte, n), make([]byte, maxDatagram)
		rand.Read(sent)
		c.Write(sent)
		c.SetReadDeadline(netns.Deadline(t))
		m, err := c.Read(got)
		if err != nil || !bytes.Equal(got[:m], sent) {
			t.Errorf("%d bytes: got %d, %v", n, m, err)
		}
	}
}
