package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// receiver returns all that the other end of a new connection receives, and the
// connection.
func receiver(t *testing.T) (c *Conn, all <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(accepted)
		accepted.Close()
		got <- string(b)
	}()
	t.Cleanup(func() { tcp.Close(); accepted.Close() })
	return newConn(tcp.(*net.TCPConn)), got
}

// resetNow resets a connection. The client's end of the loopback has the reset at once.
func resetNow(t *testing.T, service *net.TCPConn) {
	t.Helper()
	if err := errors.Join(service.SetLinger(0), service.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestResetBeforeWhatIsNotKept: a stranger's connection was reset after its short proof.
// The next connection gets the data that the Conn kept, and then the rest, once.
func TestResetBeforeWhatIsNotKept(t *testing.T) {
	if !canPeek {
		t.Skip("without a way to peek, the proof is not shortened")
	}
	large := strings.Repeat("0123456789abcdef", maxKept/16)
	for _, row := range []struct {
		name string
		do   func(c *Conn) error
		want string
	}{
		{"a large write", func(c *Conn) error { return write(c, large) }, "first" + large},
		{"a large write, and a reader has seen the reset", func(c *Conn) error {
			if _, _, _, err := c.read(make([]byte, 1)); !isReset(err) {
				return fmt.Errorf("the reader got %w", err)
			}
			return write(c, large)
		}, "first" + large},
		{"the bare connection", func(c *Conn) error { return write(c.TCP(), "second") }, "firstsecond"},
		{"an end after what is kept", func(c *Conn) error { // a reader sees the reset
			c.halfClosed.Store(true)
			_, err := c.Read(make([]byte, 1))
			if err == io.EOF {
				err = nil
			}
			return err
		}, "first"},
	} {
		t.Run(row.name, func(t *testing.T) {
			next, all := receiver(t)
			asked := 0
			c, service := steadyPair(t, func() (*Conn, error) {
				asked++
				return next, nil
			})
			resetNow(t, service)
			if err := row.do(c); err != nil {
				t.Errorf("after a reset: %v", err)
			}
			c.CloseWrite()
			if asked == 0 {
				next.Close()
			}
			if got := <-all; got != row.want || asked != 1 {
				t.Errorf("the service received %d bytes, want %d; %d other connections", len(got), len(row.want), asked)
			}
		})
	}
}

func write(w io.Writer, text string) error {
	n, err := io.WriteString(w, text)
	if err == nil && n != len(text) {
		err = io.ErrShortWrite
	}
	return err
}

// TestLargeWriteNotRepeated: the service has spoken, or has ended the connection in order,
// before a large write. The Conn keeps its connection.
func TestLargeWriteNotRepeated(t *testing.T) {
	for _, row := range []struct{ name, answer string }{{"answered", "answer"}, {"ended in order", ""}} {
		t.Run(row.name, func(t *testing.T) {
			asked := 0
			c, service := steadyPair(t, func() (*Conn, error) {
				asked++
				return nil, errors.New("no other connection")
			})
			if err := write(service, row.answer); err != nil {
				t.Fatal(err)
			}
			if row.answer == "" {
				service.Close()
			} else {
				resetNow(t, service)
			}
			for _, b := range slices.Repeat([]string{strings.Repeat("x", maxKept)}, 2) {
				write(c, b)
			}
			if asked > 0 {
				t.Errorf("asked for another connection %d times", asked)
			}
			b, _ := io.ReadAll(c)
			if string(b) != row.answer {
				t.Errorf("read %q", b)
			}
		})
	}
}

// TestLargeWriteBesideReader: a blocked reader does not block a large write.
func TestLargeWriteBesideReader(t *testing.T) {
	c, service := steadyPair(t, nil)
	go c.Read(make([]byte, 1))
	go write(c, strings.Repeat("x", maxKept))
	if _, err := io.ReadFull(service, make([]byte, maxKept)); err != nil {
		t.Error(err)
	}
}

// TestCloseEndsOutlast: a write that waits for the proof ends with the connection.
func TestCloseEndsOutlast(t *testing.T) {
	c, _ := steadyPair(t, nil)
	c.ctx, c.cancel = context.WithCancel(t.Context())
	c.proof = 24 * time.Hour
	wrote := make(chan error, 1)
	go func() { wrote <- write(c, strings.Repeat("x", maxKept)) }()
	c.Close()
	if err := <-wrote; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
