package daemon

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of pipes, whose remote addresses are all from(1).
type pipes chan net.Conn

type pipeEnd struct{ net.Conn }

func (pipeEnd) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(from(1)) }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return pipeEnd{c}, nil
}

func (p pipes) connect() net.Conn {
	here, there := net.Pipe()
	p <- there
	return here
}

func (pipes) Close() error   { return nil }
func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestServedConnectionsAreBounded: clients that do not read use a bounded number of
// connections, each for a bounded time.
func TestServedConnectionsAreBounded(t *testing.T) {
	a, _, _ := testAnswers(t)
	if err := a.put(from(1), []byte("challenge")); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := make(pipes)
		done := make(chan error)
		go func() { done <- a.Serve(l) }()
		for range maxServed {
			l.connect()
		}
		var b [1]byte
		if n, err := l.connect().Read(b[:]); n != 0 || err != io.EOF {
			t.Errorf("one connection too many: %d bytes, %v", n, err)
		}
		time.Sleep(answerRead)
		synctest.Wait()
		late := l.connect()
		if n, err := late.Read(b[:]); n != 1 || err != nil {
			t.Errorf("after the time of the others: %d bytes, %v", n, err)
		}
		late.Close()
		close(l)
		<-done
	})
}
