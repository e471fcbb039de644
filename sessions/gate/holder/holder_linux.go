package holder

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// maxWaiting is the number of connections that may wait for their turn. The
	// holder closes further ones.
	maxWaiting = 8
	// turnTime is how long a connection waits: the server before may not have
	// ended yet.
	turnTime = 2 * time.Second
	// logPause is the minimum time between two log lines about refused
	// connections.
	logPause = time.Minute
)

// Holder runs independently of a server, and serves one server after another.
// Its methods may be called concurrently.
type Holder struct {
	// Reload reads the configuration again, for a command of the administrator, and returns
	// when it is in force. It must be set before Serve; nil: commands are rejected.
	Reload func(ctx context.Context, asked *time.Duration) (Reloaded, error)

	users []uint32 // users whose servers it serves, in addition to root
	turn  chan struct{}

	mu     sync.Mutex
	cfg    Config
	conn   net.Conn // of the current server
	closed bool     // no server may begin: during Replace, and at the end
	logged time.Time
}

// NewHolder returns a holder for servers of root and of these users.
func NewHolder(cfg Config, users ...uint32) *Holder {
	return &Holder{cfg: cfg, users: users, turn: make(chan struct{}, 1)}
}

// Serve serves servers that connect, until ctx ends; then it closes the
// firewall for the last of them. It takes ownership of the listener.
func (h *Holder) Serve(ctx context.Context, l *net.UnixListener) error {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	waiting := make(chan struct{}, maxWaiting)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			h.disconnectServer()
			return nil
		case err != nil:
			return err
		}
		select {
		case waiting <- struct{}{}:
			all.Go(func() {
				defer conn.Close()
				h.serveOne(ctx, conn, func() { <-waiting })
			})
		default:
			conn.Close()
		}
	}
}

// serveOne serves a server when its turn comes. It calls leaveQueue when the
// connection no longer waits.
func (h *Holder) serveOne(ctx context.Context, conn net.Conn, leaveQueue func()) {
	if err := mayServe(conn, h.users); err != nil {
		h.refuse(conn, err)
		leaveQueue()
		return
	}
	first, err := readFirst(conn)
	if err != nil {
		leaveQueue()
		return
	}
	if kind(first[0]) == kindReload {
		defer leaveQueue()
		r, err := parse(first, time.Time{})
		if err != nil {
			err = send(conn, refusal(err))
		} else {
			err = h.reload(ctx, conn, r.trial)
		}
		if err != nil {
			h.log().Warn("failed to answer a command", "error", err)
		}
		return
	}
	timer := time.NewTimer(turnTime)
	defer timer.Stop()
	select {
	case h.turn <- struct{}{}:
	case <-timer.C:
		h.answerRefusal(conn, errors.New("another server has the firewall"))
		leaveQueue()
		return
	case <-ctx.Done():
		leaveQueue()
		return
	}
	leaveQueue()
	defer func() { <-h.turn }()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return // the server may connect again
	}
	h.conn = conn
	s := session{Config: h.cfg, conn: conn}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.conn = nil
		h.mu.Unlock()
	}()
	orderly, err := s.serve(first)
	switch {
	case s.firewall == nil:
	case orderly && err == nil:
		s.Log.Info("server stopped; everything is closed")
	case err == nil || errors.Is(err, net.ErrClosed):
		s.Log.Warn("server connection lost; everything is closed")
	default:
		s.Log.Error("server connection failed", "error", err)
	}
}

// readFirst reads the first request of a connection.
func readFirst(conn net.Conn) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	buffer := make([]byte, maxRequest+1)
	n, err := conn.Read(buffer)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	return buffer[:n], conn.SetReadDeadline(time.Time{})
}

// disconnectServer ends the connection of the current server, and lets no other
// one begin.
func (h *Holder) disconnectServer() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.conn != nil {
		h.conn.Close()
	}
}

// Replace replaces the configuration: it calls change while no server has the
// firewall, and everything is closed. If change fails, the old configuration
// stays.
func (h *Holder) Replace(ctx context.Context, change func() (Config, error)) error {
	h.disconnectServer()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.closed = ctx.Err() != nil
	}()
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.turn }()
	next, err := change()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cfg = next
	return nil
}

func (h *Holder) log() *slog.Logger {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cfg.Log
}

// refuse sends the reason to a connection, and logs it at most once per
// logPause.
func (h *Holder) refuse(conn net.Conn, why error) {
	// Closing a connection with unread data would discard the reply.
	conn.SetReadDeadline(time.Now().Add(time.Second))
	conn.Read(make([]byte, maxRequest))
	h.answerRefusal(conn, why)
}

// answerRefusal is refuse for a connection whose request was read.
func (h *Holder) answerRefusal(conn net.Conn, why error) {
	send(conn, refusal(why))
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.cfg.Clock.Monotonic(); h.logged.IsZero() || now.Sub(h.logged) >= logPause {
		h.logged = now
		h.cfg.Log.Warn("server rejected", "error", why)
	}
}
