package helper

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// maxWaiting is how many connections wait for their turn. More are closed.
	maxWaiting = 8
	// turnTime is how long one waits: the server before may still be about to end.
	turnTime = 2 * time.Second
	// logPause is the least time between two lines of the log about connections
	// that were refused.
	logPause = time.Minute
)

// Holder goes on by itself, and serves one server after another. Its methods may
// be called concurrently.
type Holder struct {
	users []uint32 // beside root, whose servers it serves
	turn  chan struct{}

	mu     sync.Mutex
	cfg    Config
	conn   net.Conn // of the server whose turn it is
	closed bool     // no server has a turn: another configuration is on its way, or the end
	logged time.Time
}

// NewHolder returns a holder that serves servers of root and of these users.
func NewHolder(cfg Config, users ...uint32) *Holder {
	return &Holder{cfg: cfg, users: users, turn: make(chan struct{}, 1)}
}

// Serve serves servers that connect, until ctx ends; then the firewall is closed
// for the last of them. It takes over the listener.
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
			h.dismiss()
			return nil
		case err != nil:
			return err
		}
		select {
		case waiting <- struct{}{}:
			all.Go(func() {
				defer conn.Close()
				h.one(ctx, conn, func() { <-waiting })
			})
		default:
			conn.Close()
		}
	}
}

// one serves a server, when it is its turn.
func (h *Holder) one(ctx context.Context, conn net.Conn, turned func()) {
	if err := mayServe(conn, h.users); err != nil {
		h.refuse(conn, err)
		turned()
		return
	}
	timer := time.NewTimer(turnTime)
	defer timer.Stop()
	select {
	case h.turn <- struct{}{}:
	case <-timer.C:
		h.refuse(conn, errors.New("another server has the firewall"))
		turned()
		return
	case <-ctx.Done():
		turned()
		return
	}
	turned()
	defer func() { <-h.turn }()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return // it may come again
	}
	h.conn = conn
	s := session{Config: h.cfg, conn: conn}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.conn = nil
		h.mu.Unlock()
	}()
	ordered, err := s.serve(time.Now().Add(answerTime))
	switch {
	case s.firewall == nil:
	case ordered && err == nil:
		s.Log.Info("server stopped; everything is closed")
	case err == nil || errors.Is(err, net.ErrClosed):
		s.Log.Warn("server connection lost; everything is closed")
	default:
		s.Log.Error("server connection failed", "error", err)
	}
}

// dismiss ends the connection of the server whose turn it is, and lets no other
// one have its turn.
func (h *Holder) dismiss() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.conn != nil {
		h.conn.Close()
	}
}

// Replace has another configuration hold: change puts it in force while no server
// has the firewall, which closes everything. If change fails, the one before
// holds.
func (h *Holder) Replace(ctx context.Context, change func() (Config, error)) error {
	h.dismiss()
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

// refuse says why to a connection, and to the log once in a while.
func (h *Holder) refuse(conn net.Conn, why error) {
	// A connection that closes with something unread loses what was sent.
	conn.SetReadDeadline(time.Now().Add(time.Second))
	conn.Read(make([]byte, maxRequest))
	send(conn, refusal(why))
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.cfg.Clock.Monotonic(); h.logged.IsZero() || now.Sub(h.logged) >= logPause {
		h.logged = now
		h.cfg.Log.Warn("server rejected", "error", why)
	}
}
