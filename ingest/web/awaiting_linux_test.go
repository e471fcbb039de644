package web

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitedClients: clients for which the server waits keep no places from others, also
// if new connections come all the time.
func TestAwaitedClients(t *testing.T) {
	const form = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			w.Write(make([]byte, 1<<20))
		case "/socket":
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				io.Copy(io.Discard, c)
				c.Close()
			}
		}
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNotFound)
	})
	for name, begun := range map[string]string{
		"a form":                     form + "300\r\n\r\nq",
		"a body":                     form + "9000\r\n\r\nq",
		"an answer that is not read": "GET /long HTTP/1.1\r\nHost: a\r\n\r\n",
		"a connection of the site's": "GET /socket HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const most = 8
				l := newPipes()
				h := newHTTP(t, HTTPConfig{Site: site, Exchanges: newResponders(netip.Addr{})})
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- Server{Handler: h, Connections: most}.Run(ctx, l) }()
				begin := func() net.Conn {
					c := l.dial()
					io.WriteString(c, begun)
					return c
				}
				for range most {
					defer begin().Close()
				}
				time.Sleep(time.Second)
				c := l.dial()
				for range most / 2 { // during its handshake
					time.Sleep(10 * time.Millisecond)
					defer begin().Close()
				}
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
				if b, err := io.ReadAll(c); err != nil || !strings.Contains(string(b), "404") {
					t.Errorf("another client got %q, %v", b, err)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestAnswerWithoutWindow: over HTTP/2 too, a client that takes nothing of an answer loses
// it after writeTime, although its connection is alive.
func TestAnswerWithoutWindow(t *testing.T) {
	certified, _ := certificate(t, "127.0.0.1")
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		gaveUp := make(chan time.Duration, 1)
		site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			w.Write(make([]byte, 1<<20))
			gaveUp <- time.Since(began)
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- Server{Handler: site, TLS: &tls.Config{Certificates: []tls.Certificate{certified}}}.Run(ctx, l)
		}()
		a := attacker{tls.Client(l.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})}
		defer a.conn.Close()
		io.WriteString(a.conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		go io.Copy(io.Discard, a.conn)
		a.frame(frameSettings, 0, 0, "\x00\x04\x00\x00\x00\x00") // windows of 0
		a.frame(frameHeaders, endHeaders|endStream, 1, getRoot)
		select {
		case after := <-gaveUp:
			if after > writeTime+time.Second {
				t.Errorf("after %s, want %s", after, writeTime)
			}
		case <-time.After(time.Hour):
			t.Error("the site still waits after an hour")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
