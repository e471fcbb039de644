package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"
)

// Limits of a Server. A client that sends its header or its form slower, is silent for
// longer, or does not read its answer, loses its connection.
const (
	DefaultHTTPConnections = 1024

	readHeaderTime = 10 * time.Second
	readFormTime   = 10 * time.Second // for the body of a POST that is short enough for a message
	idleTime       = time.Minute
	writeTime      = time.Minute // in which a client must accept something of an answer
	maxHeader      = 16 << 10
	maxStreams     = 32 // of one connection of HTTP/2

	// A connection of HTTP/2 keeps memory for the longest frame that it has had, and for
	// bodies that are not read yet: the least that RFC 9113 permits, and its default.
	http2Frame  = 16 << 10
	http2Buffer = 1<<16 - 1
)

// Server serves HTTP/1.1, and over TLS also HTTP/2, with a bounded number of
// connections. Handler is required.
type Server struct {
	Handler     http.Handler
	TLS         *tls.Config // nil: without TLS
	Connections int         // at a time; 0: DefaultHTTPConnections
	Proxies     Proxies     // whose connections are those of many clients
}

// connectionKey is the key of a request's connection in its context.
type connectionKey struct{}

// Run serves the connections of a listener until the context ends. Then it closes the
// listener and the connections, also those that the handler has hijacked, and does not
// wait for the handler.
func (s Server) Run(ctx context.Context, l net.Listener) error {
	most := s.Connections
	if most == 0 {
		most = DefaultHTTPConnections
	}
	open := newConnections(most)
	h := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := r.Context().Value(connectionKey{}).(boundedConn).Conn
			// Between two requests of a connection, others have a turn, also if it has sent
			// many at once.
			runtime.Gosched()
			open.touch(c, 1)
			defer open.touch(c, -1)
			s.Handler.ServeHTTP(awaiting(w, r, open, c))
			if r.ProtoMajor == 1 && r.ContentLength != 0 {
				// The server reads a body that the handler has not read, up to 256 KiB.
				http.NewResponseController(w).SetReadDeadline(time.Now().Add(readFormTime))
			}
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			return context.WithValue(ctx, connectionKey{}, c.(boundedConn))
		},
		TLSConfig:         s.TLS,
		ReadHeaderTimeout: readHeaderTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, WriteByteTimeout: writeTime,
			MaxReadFrameSize: http2Frame, MaxReceiveBufferPerConnection: http2Buffer, MaxReceiveBufferPerStream: http2Buffer,
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	defer open.closeAll() // net/http does not know those that a handler has hijacked
	defer h.Close()
	bounded := boundedListener{l, open, s.Proxies}
	var err error
	if s.TLS != nil {
		err = h.ServeTLS(bounded, "", "")
	} else {
		err = h.Serve(bounded)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// boundedListener accepts connections into a set.
type boundedListener struct {
	net.Listener
	open    *connections
	proxies Proxies
}

func (l boundedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	bounded := boundedConn{c, l.open, new(atomic.Bool), new(owned)}
	l.open.add(c, l.proxies.sentBy(bounded))
	return bounded, nil
}

// boundedConn is a connection that leaves its set when it is closed.
type boundedConn struct {
	net.Conn
	open  *connections
	kept  *atomic.Bool
	owned *owned
}

func (c boundedConn) Close() error { return c.open.remove(c.Conn) }

func (c boundedConn) Write(b []byte) (int, error) {
	if !c.kept.Load() {
		c.Conn.SetWriteDeadline(time.Now().Add(writeTime))
	}
	return c.Conn.Write(b)
}

// keep notes whether the client of a request's connection, which no longer is HTTP, has
// proved itself: then others do not take its place, and its writes have no limit of time here.
func keep(r *http.Request, kept bool) {
	if c, ok := r.Context().Value(connectionKey{}).(boundedConn); ok {
		c.kept.Store(kept)
		c.Conn.SetWriteDeadline(time.Time{})
		c.open.keep(c.Conn, kept)
	}
}
