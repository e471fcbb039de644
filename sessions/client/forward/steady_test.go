package forward

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/syserror"
)

// TestLateReset: a server that is busy resets the connection of a stranger only after the
// proof. The bytes that the program has sent meanwhile arrive once, by the next connection.
func TestLateReset(t *testing.T) {
	for _, late := range []time.Duration{60 * time.Millisecond, 200 * time.Millisecond} {
		for name, program := range map[string]func(c *conn){
			"silent":        func(c *conn) { time.Sleep(time.Second) },
			"at once":       func(c *conn) { io.WriteString(c, "one two three"); time.Sleep(time.Second) },
			"ended":         func(c *conn) { io.WriteString(c, "one two three"); c.CloseWrite() },
			"in parts":      func(c *conn) { parts(c, "one ", "two ", "three"); time.Sleep(time.Second) },
			"in late parts": func(c *conn) { parts(c, strings.SplitAfter("a b c d e f g h i j k l m n o p q r s t", " ")...) },
			"up to maxKept": func(c *conn) { c.Write(make([]byte, maxKept)); time.Sleep(time.Second) },
			"more later":    func(c *conn) { c.Write(make([]byte, maxKept)); time.Sleep(time.Second); c.Write(make([]byte, maxKept)) },
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newListener()
					w := &remote{openFor: 10 * time.Second, rtt: 20 * time.Millisecond, closed: "late", late: late, greets: "hello "}
					s := serve(t, w, Config{OpenFor: time.Hour}, Route{Service: ":80", Granted: name == "granted", Streams: listeners(l)})
					echoes(l.connect(), "first")
					time.Sleep(time.Minute)
					c := l.connect()
					got := make(chan string)
					go func() {
						all, err := io.ReadAll(c)
						if err != nil {
							t.Errorf("after %d bytes: %v", len(all), err)
						}
						got <- string(all)
					}()
					program(c)
					c.CloseWrite()
					if all := <-got; all != "hello "+c.wrote() {
						t.Errorf("the program has sent %d bytes, and got %d", len(c.wrote()), len(all)-6)
					}
					c.Close()
					if w.count() != 2 {
						t.Errorf("%d knocks, want 2", w.count())
					}
					s.end(t)
				})
			})
		}
	}
}

// parts writes texts with pauses.
func parts(c *conn, list ...string) {
	for _, text := range list {
		io.WriteString(c, text)
		time.Sleep(30 * time.Millisecond)
	}
}

// TestNoSecondConnection: a reset passes to the program if a second connection could
// double something, or lose it.
func TestNoSecondConnection(t *testing.T) {
	for name, c := range map[string]struct {
		late    time.Duration
		granted bool
		send    int
	}{
		"after the first moments": {late: firstMoments + 50*time.Millisecond},
		"only admitted addresses": {late: 100 * time.Millisecond, granted: true, send: 1},
		"more than is kept":       {late: 100 * time.Millisecond, send: maxKept + 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newListener()
				w := &remote{openFor: 10 * time.Second, rtt: 20 * time.Millisecond, closed: "late", late: c.late}
				s := serve(t, w, Config{OpenFor: time.Hour}, Route{Service: ":80", Streams: listeners(l), Granted: c.granted})
				echoes(l.connect(), "first")
				time.Sleep(time.Minute)
				p := l.connect()
				p.Write(make([]byte, c.send))
				if _, err := p.Read(make([]byte, 1)); !isReset(err) {
					t.Errorf("the program sees %v, want a reset", err)
				}
				p.Close()
				if w.count() != 1 {
					t.Errorf("%d knocks", w.count())
				}
				s.end(t)
			})
		})
	}
}

// TestSteady: cases that depend on the order of events.
func TestSteady(t *testing.T) {
	never := func() (Conn, []byte, error) {
		t.Error("another connection")
		return nil, nil, errors.New("never")
	}
	synctest.Test(t, func(t *testing.T) {
		// A service that has sent a byte has spoken.
		a, b := pair()
		s := newSteady(a, time.Now(), maxKept, never)
		io.WriteString(b, "x")
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		b.SetLinger(0)
		b.Close()
		if _, err := s.Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("got %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// An end in order is never repeated.
		a, b := pair()
		s := newSteady(a, time.Now(), maxKept, never)
		b.Close()
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// Also if the writer knows of it first: the kernel answers data after an end in order
		// with a reset, which is a broken pipe to the next write.
		a, b := pair()
		s := newSteady(writes{a, syserror.Broken.Err()}, time.Now(), maxKept, never)
		b.CloseWrite()
		io.WriteString(s, "text")
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v", err)
		}
		if _, err := io.WriteString(s, "text"); !syserror.Broken.In(err) {
			t.Errorf("the writer sees %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// The kernel reports the reset to the writer, and an end of file to the reader.
		a, b := pair()
		next, peer := pair()
		s := newSteady(reportsOnce{a}, time.Now(), maxKept, func() (Conn, []byte, error) { return next, []byte("hello "), nil })
		b.SetLinger(0)
		b.Close()
		if _, err := io.WriteString(s, "text"); err != nil {
			t.Errorf("the writer sees %v", err)
		}
		go func() {
			io.Copy(peer, struct{ io.Reader }{peer})
			peer.Close()
		}()
		var got bytes.Buffer
		go func() {
			time.Sleep(time.Second)
			io.WriteString(s, " more")
			s.CloseWrite()
		}()
		if _, err := io.Copy(&got, s); err != nil || got.String() != "hello text more" {
			t.Errorf("got %q, %v", got.String(), err)
		}
	})
}

// TestSteadyEnds: a program that ends its direction when the reset has arrived.
func TestSteadyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair()
		next, peer := pair()
		s := newSteady(a, time.Now(), maxKept, func() (Conn, []byte, error) { return next, nil, nil })
		io.WriteString(s, "text")
		b.SetLinger(0)
		b.Close()
		if err := s.CloseWrite(); err != nil {
			t.Errorf("the writer sees %v", err)
		}
		go func() {
			io.Copy(peer, struct{ io.Reader }{peer})
			peer.Close()
		}()
		if got, err := io.ReadAll(s); err != nil || string(got) != "text" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// reportsOnce is a connection that reports a reset to the writer, and then an end of file
// to the reader.
type reportsOnce struct{ *conn }

func (c reportsOnce) Read(b []byte) (int, error) {
	n, err := c.conn.Read(b)
	if isReset(err) {
		err = io.EOF
	}
	return n, err
}

func (c reportsOnce) Write(b []byte) (int, error) {
	n, err := c.conn.Write(b)
	if syserror.Broken.In(err) {
		err = syserror.Reset.Err()
	}
	return n, err
}

// writes is a connection whose writes fail.
type writes struct {
	*conn
	err error
}

func (c writes) Write([]byte) (int, error) { return 0, c.err }
