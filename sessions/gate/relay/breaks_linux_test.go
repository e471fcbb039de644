package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestResetAfterHalfClose: a side that sends an end of file and then resets
// also resets the other side, even if that one neither reads from it nor writes
// to it.
func TestResetAfterHalfClose(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	for name, ends := range map[string]func(carried) (first, second stream){
		"the client":   func(c carried) (_, _ stream) { return c.client, c.upstream },
		"the upstream": func(c carried) (_, _ stream) { return c.upstream, c.client },
	} {
		t.Run(name, func(t *testing.T) {
			c := carry(t, TCP{}, front, back)
			greet(t, c.client, c.upstream)
			first, second := ends(c)
			if err := first.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := second.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("the end of what it said: %v", err)
			}
			abort(first)
			if err := c.wait(t); err == nil {
				t.Error("a broken connection was carried well")
			}
			// After a FIN, a reset shows only as EPIPE.
			_, err := second.Write([]byte("x"))
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other side: %v", err)
			}
		})
	}
}

// TestEndDuringDial: the relay stops dialing when the client disconnects.
func TestEndDuringDial(t *testing.T) {
	front := listen(t, "127.0.0.1:0")
	for name, end := range map[string]func(client, middle *net.TCPConn){
		"the client": func(client, _ *net.TCPConn) { abort(client) },
		"the caller": func(_, middle *net.TCPConn) { abort(middle) },
	} {
		t.Run(name, func(t *testing.T) {
			client := dial(t, front.Addr().String())
			middle := accept(t, front)
			middle.SetDeadline(time.Time{})
			if _, err := io.WriteString(client, "what is said early is no end"); err != nil {
				t.Fatal(err)
			}
			seeking, done := make(chan bool), make(chan error, 1)
			relay := TCP{Upstream: "upstream", DialTimeout: time.Hour, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				close(seeking)
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			go func() { done <- carryOnly(relay.Carry(t.Context(), middle)) }()
			<-seeking
			end(client, middle)
			err := carried{done: done}.wait(t)
			var unreachable *UpstreamError
			if err == nil || errors.As(err, &unreachable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestDialedTooLate: an upstream that accepted the connection of a client that
// has disconnected sees a reset.
func TestDialedTooLate(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	dial(t, front.Addr().String())
	middle := accept(t, front)
	_, err := TCP{Upstream: Upstream(back.Addr().String()), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := net.Dial(network, address)
		abort(middle)
		<-ctx.Done()
		return c, err
	}}.Carry(t.Context(), middle)
	if !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
	if _, err := accept(t, back).Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the upstream: %v", err)
	}
}

// TestKeepalives: the kernel probes an idle upstream.
func TestKeepalives(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	dial(t, front.Addr().String())
	up, err := TCP{Upstream: Upstream(back.Addr().String())}.connect(t.Context(), accept(t, front))
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	raw, err := up.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		on, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		if err != nil || on != 1 {
			t.Errorf("keepalive is %d, %v", on, err)
		}
	})
}

// TestSlowReader: bytes that the reader does not read stay with the writer,
// except those in the kernel's buffers.
func TestSlowReader(t *testing.T) { upstreams(t, testSlowReader) }

func testSlowReader(t *testing.T, back net.Listener) {
	front := listen(t, "127.0.0.1:0")
	c := carry(t, TCP{}, front, back)
	const bound = 64 << 20
	sent, chunk := 0, make([]byte, 1<<16)
	for sent < bound {
		c.upstream.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := c.upstream.Write(chunk)
		if sent += n; err != nil {
			break
		}
	}
	if sent >= bound {
		t.Errorf("%d bytes in flight", sent)
	}
	if err := c.upstream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c.client); err != nil || n != int64(sent) {
		t.Errorf("%d of %d bytes came, %v", n, sent, err)
	}
	c.client.Close()
	if err := c.wait(t); err != nil {
		t.Error(err)
	}
}
