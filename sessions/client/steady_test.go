package client

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"sallyport/sessions/syserror"
)

// steadyPair returns a Conn in its first moments, which last for as long as the test, and
// the other end of its connection. It has sent "first", which the other end has read. Again
// is called if the Conn requires another connection.
func steadyPair(t *testing.T, again func() (*Conn, error)) (c *Conn, service *net.TCPConn) {
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
	service = accepted.(*net.TCPConn)
	c = newConn(tcp.(*net.TCPConn))
	t.Cleanup(func() { service.Close(); c.Close() })
	c.began = time.Now().Add(time.Hour)
	c.proof = -2 * time.Hour // it has proved itself
	c.over, c.repeats, c.again = false, maxAgain, again
	if _, err := c.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(service, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	return c, service
}

// writeUntilError writes until the kernel reports that the other end is gone.
func writeUntilError(t *testing.T, c *Conn) error {
	t.Helper()
	for range 1000 {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no error")
	return nil
}

// TestNotRepeated: the Conn sends nothing again if the service has read all data, and has
// ended the connection in order, or has answered; or if the caller itself has ended it.
// A late answer is not lost.
func TestNotRepeated(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(t *testing.T, c *Conn, service *net.TCPConn)
		left string // what the caller can read afterwards
	}{
		{name: "in order, and the caller has read that", end: func(t *testing.T, c *Conn, service *net.TCPConn) {
			service.Close()
			if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF {
				t.Errorf("got %d bytes, %v", n, err)
			}
		}},
		{name: "in order, and the caller has not read", end: func(t *testing.T, c *Conn, service *net.TCPConn) {
			service.Close()
		}},
		{name: "in order, while the caller reads", end: func(t *testing.T, c *Conn, service *net.TCPConn) {
			read := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				read <- err
			}()
			service.Close()
			if err := <-read; err != io.EOF {
				t.Errorf("got %v", err)
			}
		}},
		{name: "answered, then reset", left: "answer", end: func(t *testing.T, c *Conn, service *net.TCPConn) {
			if _, err := service.Write([]byte("answer")); err != nil {
				t.Fatal(err)
			}
			service.SetLinger(0)
			service.Close()
		}},
		{name: "ended by the caller", end: func(t *testing.T, c *Conn, service *net.TCPConn) {
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			asked := 0
			c, service := steadyPair(t, func() (*Conn, error) {
				asked++
				return nil, errors.New("no other connection")
			})
			row.end(t, c, service)
			err := writeUntilError(t, c)
			if !isReset(err) || asked > 0 {
				t.Errorf("got %v; asked for another connection %d times", err, asked)
			}
			b := make([]byte, 16)
			if row.left == "" {
				return
			}
			if n, err := c.Read(b); string(b[:n]) != row.left {
				t.Errorf("read %q, %v", b[:n], err)
			}
		})
	}
}

// TestEndAfterCloseWrite: after CloseWrite, an end in order may be all that the service
// does. A reset is a failure, also then.
func TestEndAfterCloseWrite(t *testing.T) {
	explained := errors.New("explained")
	c := &Conn{explain: func(error) error { return explained }}
	c.halfClosed.Store(true)
	if err := c.ended(io.EOF, 0); err != io.EOF {
		t.Error(err)
	}
	if err := c.ended(syserror.Reset.Err(), 0); err != explained {
		t.Error(err)
	}
}
