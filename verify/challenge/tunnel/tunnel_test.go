package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// pipes is a listener of connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// open returns both ends of a WebSocket.
func open(t testing.TB) (client, server *websocket.Conn) {
	t.Helper()
	listener, accepted := make(pipes), make(chan *websocket.Conn)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	})}
	go s.Serve(listener)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		a, b := net.Pipe()
		listener <- b
		return a, nil
	}}
	dialed := make(chan *websocket.Conn)
	go func() {
		c, _, err := websocket.Dial(context.Background(), "ws://test/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	server, client = <-accepted, <-dialed
	close(listener)
	t.Cleanup(func() {
		client.CloseNow()
		server.CloseNow()
	})
	return client, server
}

// pair returns both ends of a tunnel.
func pair(t testing.TB) (client, server *Conn) {
	t.Helper()
	a, b := open(t)
	client, server = New(a, &net.TCPAddr{Port: 1}, &net.TCPAddr{Port: 2}), New(b, &net.TCPAddr{Port: 2}, &net.TCPAddr{Port: 1})
	t.Cleanup(client.Abort)
	t.Cleanup(server.Abort)
	return client, server
}

// within runs a test with the clock of synctest.
func within(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// TestHalfClose: each direction ends alone, after all of its bytes.
func TestHalfClose(t *testing.T) {
	within(t, func(t *testing.T) {
		client, server := pair(t)
		question := bytes.Repeat([]byte("question"), 100_000)
		go func() {
			client.Write(question)
			client.CloseWrite()
		}()
		got, err := io.ReadAll(server)
		if err != nil || !bytes.Equal(got, question) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		time.Sleep(5 * SilentTime) // keepalives keep the other direction
		go func() {
			io.WriteString(server, "answer")
			server.Close()
		}()
		answer, err := io.ReadAll(client)
		if err != nil || string(answer) != "answer" {
			t.Errorf("%q, %v", answer, err)
		}
		if _, err := client.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after CloseWrite: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestReset: a tunnel that ends otherwise is no end of file.
func TestReset(t *testing.T) {
	for name, end := range map[string]func(c *Conn, ws *websocket.Conn){
		"abort":   func(c *Conn, _ *websocket.Conn) { c.Abort() },
		"a close": func(_ *Conn, ws *websocket.Conn) { ws.Close(websocket.StatusNormalClosure, "") },
		"going":   func(_ *Conn, ws *websocket.Conn) { ws.Close(websocket.StatusGoingAway, "") },
		"refused": func(c *Conn, _ *websocket.Conn) { c.Refuse("too many") },
		"text":    func(_ *Conn, ws *websocket.Conn) { ws.Write(context.Background(), websocket.MessageText, []byte("a")) },
		"too long": func(_ *Conn, ws *websocket.Conn) {
			ws.Write(context.Background(), websocket.MessageBinary, make([]byte, MaxMessage+1))
		},
		"after end": func(c *Conn, ws *websocket.Conn) { ws.Write(context.Background(), websocket.MessageBinary, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				a, b := open(t)
				client, server := New(a, nil, nil), New(b, nil, nil)
				defer client.Abort()
				defer server.Abort()
				go func() {
					io.WriteString(server, "some")
					end(server, b)
				}()
				got, err := io.ReadAll(client)
				if name == "after end" {
					if err != nil {
						t.Error(err)
					}
					// Then nothing may follow.
					b.Write(context.Background(), websocket.MessageBinary, []byte("more"))
					<-client.closed
					return
				}
				if string(got) != "some" || !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%q, %v", got, err)
				}
				if name == "refused" && !strings.Contains(err.Error(), "too many") {
					t.Errorf("%v", err)
				}
				if _, err := client.Write([]byte("a")); err == nil {
					t.Error("a write succeeds")
				}
			})
		})
	}
}

// TestSilence: a peer of which nothing comes is dropped, and one that stays is not,
// however long its program is silent.
func TestSilence(t *testing.T) {
	within(t, func(t *testing.T) {
		client, server := pair(t)
		time.Sleep(100 * SilentTime)
		go io.WriteString(client, "a")
		if n, err := server.Read(make([]byte, 9)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	within(t, func(t *testing.T) {
		a, _ := open(t)
		client := New(a, nil, nil)
		began := time.Now()
		if _, err := client.Read(make([]byte, 9)); !errors.Is(err, errSilent) || time.Since(began) != SilentTime {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// TestStall: a peer that stops reading slows the writer down, and is dropped later.
func TestStall(t *testing.T) {
	within(t, func(t *testing.T) {
		client, server := pair(t)
		written := make(chan error)
		go func() {
			_, err := client.Write(make([]byte, 1<<20))
			written <- err
		}()
		time.Sleep(StallTime / 2)
		if n, err := io.ReadFull(server, make([]byte, 1<<20)); err != nil {
			t.Errorf("after a pause: %d bytes, %v", n, err)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		go func() {
			_, err := client.Write(make([]byte, 1<<20))
			written <- err
		}()
		began := time.Now()
		if err := <-written; !errors.Is(err, errStalled) || time.Since(began) != StallTime {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// TestDeadlines: a read deadline can pass without harm; a write deadline ends the tunnel.
func TestDeadlines(t *testing.T) {
	within(t, func(t *testing.T) {
		client, server := pair(t)
		client.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := client.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if _, err := client.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		go func() {
			time.Sleep(time.Second)
			client.SetReadDeadline(time.Now())
		}()
		client.SetReadDeadline(time.Time{})
		if _, err := client.Read(make([]byte, 9)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		client.SetReadDeadline(time.Time{})
		go io.WriteString(server, "a")
		if n, err := client.Read(make([]byte, 9)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		client.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := client.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		io.Copy(io.Discard, server)
	})
}

// TestCloseWhileWriting: Close ends a Write that waits for the peer.
func TestCloseWhileWriting(t *testing.T) {
	within(t, func(t *testing.T) {
		client, _ := pair(t)
		go func() {
			time.Sleep(time.Second)
			client.Close()
		}()
		if _, err := client.Write(make([]byte, 1<<20)); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
