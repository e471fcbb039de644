package web

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Frames of HTTP/2 (RFC 9113), and a header block of a GET of / (RFC 7541).
const (
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	frameContinuation = 9
	endStream         = 1
	endHeaders        = 4
	getRoot           = "\x82\x84\x87\x01\x0f" + testHost
)

// attacker is a connection of HTTP/2 that sends frames as it likes.
type attacker struct{ conn *tls.Conn }

func newAttacker(t *testing.T, at string) attacker {
	t.Helper()
	c, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	a := attacker{c}
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if err := a.frame(frameSettings, 0, 0, ""); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a attacker) frame(kind, flags byte, stream uint32, payload string) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	_, err := a.conn.Write(append(b, payload...))
	return err
}

// closed reports whether the server closes the connection, while all frames are read.
func (a attacker) closed() bool {
	_, err := io.Copy(io.Discard, a.conn)
	e, timeout := err.(interface{ Timeout() bool })
	return !timeout || !e.Timeout()
}

// TestFloodsOfHTTP2: a connection that begins and resets streams, that begins many, or
// that never ends a header, uses a bounded part of the server and is closed, or waits
// for its own streams; another connection is answered meanwhile.
func TestFloodsOfHTTP2(t *testing.T) {
	c, _ := certificate(t, "127.0.0.1")
	var active, most atomic.Int64
	release := make(chan struct{})
	h := newHTTP(t, HTTPConfig{Exchanges: newResponders(netip.Addr{}), Site: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			return
		}
		n := active.Add(1)
		defer active.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release // a slow site
	})})
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: h, TLS: &tls.Config{Certificates: []tls.Certificate{c}}})
	t.Cleanup(func() { close(release) })
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
	}}
	others := func() {
		t.Helper()
		r, err := client.Get("https://" + at + "/other")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.ProtoMajor != 2 {
			t.Errorf("another connection has %s", r.Proto)
		}
	}
	t.Run("rapid reset", func(t *testing.T) {
		most.Store(0)
		a := newAttacker(t, at)
		over := make(chan bool)
		go func() { over <- a.closed() }()
		for i := uint32(1); i < 20_000; i += 2 {
			if a.frame(frameHeaders, endHeaders|endStream, i, getRoot) != nil || a.frame(frameReset, 0, i, "\x00\x00\x00\x08") != nil {
				break
			}
			if i == 999 {
				others()
			}
		}
		if !<-over {
			t.Error("the connection is still open")
		}
		others()
		if got := most.Load(); got > maxStreams {
			t.Errorf("%d requests at a time, want at most %d", got, maxStreams)
		}
	})
	t.Run("many streams", func(t *testing.T) {
		before := active.Load()
		most.Store(0)
		a := newAttacker(t, at)
		go a.closed()
		for i := uint32(1); i < 2000; i += 2 {
			if a.frame(frameHeaders, endHeaders|endStream, i, getRoot) != nil {
				break
			}
		}
		others()
		if got := most.Load() - before; got > maxStreams {
			t.Errorf("%d requests at a time, want at most %d", got, maxStreams)
		}
	})
	t.Run("a header without end", func(t *testing.T) {
		a := newAttacker(t, at)
		over := make(chan bool)
		go func() { over <- a.closed() }()
		if err := a.frame(frameHeaders, endStream, 1, getRoot); err != nil {
			t.Fatal(err)
		}
		more := "\x00\x06x-more\x7f\xe9\x06" + strings.Repeat("~", 1000) // a literal of 127+873 bytes
		sent := 0
		for range 10_000 {
			if a.frame(frameContinuation, 0, 1, more) != nil {
				break
			}
			sent += len(more)
		}
		if !<-over {
			t.Errorf("the connection is still open after %d bytes of a header", sent)
		}
		others()
	})
	t.Run("a long frame", func(t *testing.T) {
		a := newAttacker(t, at)
		if a.frame(0xfa, 0, 0, strings.Repeat("x", http2Frame+1)); !a.closed() {
			t.Error("the connection is still open: it keeps memory for the frame")
		}
		others()
	})
}
