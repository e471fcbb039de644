package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"sallyport/bench/netns"
)

// listen returns a TCP listener.
func listen(t testing.TB, address string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func accept(t testing.TB, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	l.SetDeadline(netns.Deadline(t))
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(netns.Deadline(t))
	return c
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(netns.Deadline(t))
	return c.(*net.TCPConn)
}

// carried is a client's connection, the relay's end of it, and the upstream's.
type carried struct {
	client, middle *net.TCPConn
	upstream       stream
	done           chan error
}

func carry(t testing.TB, r TCP, front *net.TCPListener, back net.Listener) carried {
	t.Helper()
	r.Upstream = upstreamAt(back)
	// Without an owner, a Unix socket of this process is not an upstream.
	uid := uint32(os.Geteuid())
	r.OwnerUID = &uid
	c := carried{client: dial(t, front.Addr().String()), done: make(chan error, 1)}
	c.middle = accept(t, front)
	c.middle.SetDeadline(time.Time{})
	go func() { c.done <- carryOnly(r.Carry(context.Background(), c.middle)) }()
	c.upstream = acceptStream(t, back)
	return c
}

// upstreams calls f with a listener of each kind of upstream.
func upstreams(t *testing.T, f func(t *testing.T, back net.Listener)) {
	t.Run("tcp", func(t *testing.T) { f(t, listen(t, "127.0.0.1:0")) })
	t.Run("unix", func(t *testing.T) { f(t, listenUnix(t)) })
}

func listenUnix(t testing.TB) *net.UnixListener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.UnixListener)
}

func upstreamAt(l net.Listener) Upstream {
	if l.Addr().Network() == "unix" {
		return UnixUpstream(l.Addr().String())
	}
	return Upstream(l.Addr().String())
}

func acceptStream(t testing.TB, l net.Listener) stream {
	t.Helper()
	if l, ok := l.(*net.TCPListener); ok {
		return accept(t, l)
	}
	l.(*net.UnixListener).SetDeadline(netns.Deadline(t))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(netns.Deadline(t))
	return c.(*net.UnixConn)
}

func (c carried) wait(t testing.TB) error {
	t.Helper()
	var err error
	netns.Until(t, "the end of the connection", func() bool {
		select {
		case err = <-c.done:
			return true
		default:
			return false
		}
	})
	return err
}

// greet sends a message each way, so that both ends are connected.
func greet(t testing.TB, ends ...stream) {
	t.Helper()
	for _, end := range ends {
		if _, err := io.WriteString(end, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range ends {
		if _, err := io.ReadFull(end, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHalfClose: a side that has sent an end of file still receives, whichever
// side begins.
func TestHalfClose(t *testing.T) { upstreams(t, testHalfClose) }

func testHalfClose(t *testing.T, back net.Listener) {
	front := listen(t, "127.0.0.1:0")
	question, answer := make([]byte, 5<<20), make([]byte, 3<<20)
	rand.Read(question)
	rand.Read(answer)
	for _, name := range []string{"the client first", "the upstream first"} {
		t.Run(name, func(t *testing.T) {
			var up net.Conn
			c := carry(t, TCP{Dial: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
				up, err = new(net.Dialer).DialContext(ctx, network, address)
				return up, err
			}}, front, back)
			first, second := stream(c.client), c.upstream
			if strings.HasPrefix(name, "the upstream") {
				first, second = second, first
			}
			go func() {
				first.Write(question)
				first.CloseWrite()
			}()
			if got, err := io.ReadAll(second); err != nil || !bytes.Equal(got, question) {
				t.Fatalf("the question: %d bytes, %v", len(got), err)
			}
			go func() {
				second.Write(answer)
				second.Close()
			}()
			if got, err := io.ReadAll(first); err != nil || !bytes.Equal(got, answer) {
				t.Fatalf("the answer: %d bytes, %v", len(got), err)
			}
			if err := c.wait(t); err != nil {
				t.Error(err)
			}
			for _, end := range []net.Conn{c.middle, up} {
				if err := end.Close(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the relay left an end open: %v", err)
				}
			}
		})
	}
}

// TestBreaks: a reset of one side resets the other, and no incomplete transfer
// looks complete.
func TestBreaks(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	for name, breaks := range map[string]func(c carried) (whole stream){
		"the client":   func(c carried) stream { abort(c.client); return c.upstream },
		"the upstream": func(c carried) stream { abort(c.upstream); return c.client },
		"the caller, as the upstream sees it": func(c carried) stream {
			abort(c.middle)
			return c.upstream
		},
		"the caller, as the client sees it": func(c carried) stream {
			abort(c.middle)
			return c.client
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := carry(t, TCP{}, front, back)
			greet(t, c.client, c.upstream)
			whole := breaks(c)
			if _, err := whole.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other side: %v", err)
			}
			if err := c.wait(t); err == nil {
				t.Error("a broken connection was carried well")
			}
		})
	}
}

func TestCutDuringTransfer(t *testing.T) { upstreams(t, testCutDuringTransfer) }

func testCutDuringTransfer(t *testing.T, back net.Listener) {
	front := listen(t, "127.0.0.1:0")
	c := carry(t, TCP{}, front, back)
	go io.Copy(c.upstream, endless{})
	if _, err := io.CopyN(io.Discard, c.client, 10<<20); err != nil {
		t.Fatal(err)
	}
	abort(c.middle)
	if err := c.wait(t); err == nil {
		t.Error("cut, and carried well")
	}
	if n, err := io.Copy(io.Discard, c.client); !errors.Is(err, syscall.ECONNRESET) || n > 16<<20 {
		t.Errorf("%d bytes after the end, then %v", n, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestUnreachableUpstream: the client's connection ends in order, also if the client has
// sent a request: a reset would mean that it is a stranger.
func TestUnreachableUpstream(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	address := back.Addr().String()
	back.Close()
	for _, request := range []int{0, 1, 1 << 16} {
		client := dial(t, front.Addr().String())
		middle := accept(t, front)
		if _, err := client.Write(make([]byte, request)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- carryOnly(TCP{Upstream: Upstream(address)}.Carry(t.Context(), middle)) }()
		n, err := client.Read(make([]byte, 1))
		if n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after %d bytes, the client read %d, %v", request, n, err)
		}
		if _, err := client.Write([]byte("more")); err != nil {
			t.Errorf("after %d bytes, and an end of file: %v", request, err)
		}
		client.Close()
		err = <-done
		var unreachable *UpstreamError
		if !errors.As(err, &unreachable) || !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), address) {
			t.Errorf("got %v", err)
		}
	}
}

// TestUnreachableUpstreamIsBounded: a client that does not close its connection does not
// keep it, and neither does one that goes on to send.
func TestUnreachableUpstreamIsBounded(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	address := back.Addr().String()
	back.Close()
	for _, sends := range []bool{false, true} {
		client := dial(t, front.Addr().String())
		middle := accept(t, front)
		sent := make(chan error, 1)
		go func() {
			var err error
			for sends && err == nil {
				_, err = client.Write(make([]byte, 1<<16))
			}
			sent <- err
		}()
		var unreachable *UpstreamError
		if _, err := (TCP{Upstream: Upstream(address)}.Carry(t.Context(), middle)); !errors.As(err, &unreachable) {
			t.Errorf("got %v", err)
		}
		if err := <-sent; (err != nil) != sends {
			t.Errorf("the client, that sends: %v: %v", sends, err)
		}
	}
}

func TestEndOfContext(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	client := dial(t, front.Addr().String())
	middle := accept(t, front)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- carryOnly(TCP{Upstream: Upstream(back.Addr().String())}.Carry(ctx, middle)) }()
	upstream := accept(t, back)
	greet(t, client, upstream)
	cancel()
	if err := <-done; err == nil {
		t.Error("ended well")
	}
	for _, end := range []stream{client, upstream} {
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("an end: %v", err)
		}
	}
}

func TestProxyProtocol(t *testing.T) { upstreams(t, testProxyProtocol) }

func testProxyProtocol(t *testing.T, back net.Listener) {
	for _, front := range []string{"127.0.0.1:0", "[::1]:0"} {
		c := carry(t, TCP{ProxyProtocol: true}, listen(t, front), back)
		seen := proxyproto.NewConn(c.upstream, proxyproto.WithPolicy(proxyproto.REQUIRE))
		if _, err := io.WriteString(c.client, "hello"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(seen, b); err != nil || string(b) != "hello" {
			t.Fatalf("%q, %v", b, err)
		}
		if h := seen.ProxyHeader(); h == nil || h.Version != 2 {
			t.Errorf("header %+v", h)
		}
		if got, want := seen.RemoteAddr().String(), c.client.LocalAddr().String(); got != want {
			t.Errorf("the client is %s, want %s", got, want)
		}
		if got, want := seen.LocalAddr().String(), c.client.RemoteAddr().String(); got != want {
			t.Errorf("it connected to %s, want %s", got, want)
		}
		abort(c.client)
		c.wait(t)
		c = carry(t, TCP{ProxyProtocol: true, Port: 443}, listen(t, front), back)
		seen = proxyproto.NewConn(c.upstream, proxyproto.WithPolicy(proxyproto.REQUIRE))
		want := netip.AddrPortFrom(c.client.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), 443).String()
		if got := seen.LocalAddr().String(); got != want {
			t.Errorf("redirected, it connected to %s, want %s", got, want)
		}
		abort(c.client)
		c.wait(t)
	}
}

// carryOnly returns the error of Carry.
func carryOnly(_ Carried, err error) error { return err }
