package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// takesOver returns a function for TCP.Paused that duplicates the connections, as those of
// another process.
func takesOver(t testing.TB, got chan<- Pair) func(Pair) bool {
	return func(p Pair) bool {
		got <- Pair{again(t, p.Client).(*net.TCPConn), again(t, p.Upstream.(stream))}
		return true
	}
}

func again(t testing.TB, c stream) net.Conn {
	f, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Error(err)
		return nil
	}
	defer f.Close()
	next, err := net.FileConn(f)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { next.Close() })
	return next
}

// TestPause: no byte is lost, and none comes twice, however often a connection is paused,
// and carried on, while both sides send.
func TestPause(t *testing.T) { upstreams(t, testPause) }

func testPause(t *testing.T, back net.Listener) {
	const size = 4 << 20
	pause, got := make(chan struct{}), make(chan Pair, 1)
	c := carry(t, TCP{Pause: pause, Paused: takesOver(t, got), PauseTime: time.Hour}, listen(t, "127.0.0.1:0"), back)
	results := make(chan error, 2)
	for i, way := range []struct{ from, to stream }{{c.upstream, c.client}, {c.client, c.upstream}} {
		go func() {
			io.CopyN(way.from, rand.New(rand.NewSource(int64(i))), size)
			way.from.CloseWrite()
		}()
		go func() { results <- sameBytes(way.to, io.LimitReader(rand.New(rand.NewSource(int64(i))), size)) }()
	}
	pauses := 0
	for len(results) < 2 {
		close(pause)
		err := c.wait(t)
		if err == nil {
			break // both sides have sent all
		}
		if !errors.Is(err, ErrPaused) {
			t.Fatalf("after %d pauses: %v", pauses, err)
		}
		pauses++
		pause = make(chan struct{})
		pair, relay := <-got, TCP{Pause: pause, Paused: takesOver(t, got), PauseTime: time.Hour}
		go func() { c.done <- carryOnly(relay.Resume(context.Background(), pair)) }()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if t.Logf("%d pauses", pauses); pauses == 0 {
		t.Error("the connection was never paused")
	}
}

// sameBytes returns an error if two streams differ.
func sameBytes(got, want io.Reader) error {
	a, b := make([]byte, 1<<16), make([]byte, 1<<16)
	for at := 0; ; {
		n, err := io.ReadFull(want, b)
		if n == 0 {
			if rest, _ := io.ReadFull(got, a[:1]); rest > 0 {
				return fmt.Errorf("more than %d bytes", at)
			}
			return nil
		}
		if m, err := io.ReadFull(got, a[:n]); err != nil {
			return fmt.Errorf("after %d bytes: %w", at+m, err)
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("other bytes after %d", at)
		}
		if at += n; err != nil && err != io.ErrUnexpectedEOF {
			return err
		}
	}
}

// TestPauseHalfClosed: a side that has sent an end of file still receives after a pause.
func TestPauseHalfClosed(t *testing.T) { upstreams(t, testPauseHalfClosed) }

func testPauseHalfClosed(t *testing.T, back net.Listener) {
	front := listen(t, "127.0.0.1:0")
	for name, ends := range map[string]func(carried) (first, second stream){
		"the client first":   func(c carried) (_, _ stream) { return c.client, c.upstream },
		"the upstream first": func(c carried) (_, _ stream) { return c.upstream, c.client },
	} {
		t.Run(name, func(t *testing.T) {
			pause, got := make(chan struct{}), make(chan Pair, 1)
			c := carry(t, TCP{Pause: pause, Paused: takesOver(t, got), PauseTime: time.Hour}, front, back)
			greet(t, c.client, c.upstream)
			first, second := ends(c)
			if err := first.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := second.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("the end of file: %v", err)
			}
			close(pause)
			if err := c.wait(t); !errors.Is(err, ErrPaused) {
				t.Fatalf("got %v", err)
			}
			if _, err := io.WriteString(second, "late"); err != nil {
				t.Fatal(err)
			}
			if err := second.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			pair := <-got
			go func() { c.done <- carryOnly(TCP{}.Resume(context.Background(), pair)) }()
			if text, err := io.ReadAll(first); err != nil || string(text) != "late" {
				t.Errorf("%q, %v", text, err)
			}
			if err := c.wait(t); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPauseTooLate: a connection whose receiver does not take the bytes is reset, and is
// not passed on.
func TestPauseTooLate(t *testing.T) {
	front, back := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	pause := make(chan struct{})
	c := carry(t, TCP{Pause: pause, PauseTime: time.Millisecond, Paused: func(Pair) bool {
		t.Error("passed on")
		return true
	}}, front, back)
	go io.Copy(c.upstream, endless{}) // and the client reads nothing
	// Then bytes that were read cannot be written: the send buffer is full.
	netns.Until(t, "a full buffer", func() bool { return full(t, c.middle) })
	close(pause)
	if err := c.wait(t); err == nil || errors.Is(err, ErrPaused) {
		t.Errorf("got %v", err)
	}
	if _, err := io.Copy(io.Discard, c.client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client: %v", err)
	}
}

// full reports whether nothing can be written to a connection, while its buffer stays as it is.
func full(t *testing.T, c *net.TCPConn) (is bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		before, _ := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		n, err := unix.Poll(fds, 50)
		after, _ := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		is = err == nil && n == 0 && before == after && after > 0
	})
	return is
}

// TestPauseRefused: a connection that the caller does not take is reset.
func TestPauseRefused(t *testing.T) {
	pause := make(chan struct{})
	c := carry(t, TCP{Pause: pause, Paused: func(Pair) bool { return false }}, listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0"))
	greet(t, c.client, c.upstream)
	close(pause)
	if err := c.wait(t); err == nil || errors.Is(err, ErrPaused) {
		t.Errorf("got %v", err)
	}
	for _, end := range []stream{c.client, c.upstream} {
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v", err)
		}
	}
}
