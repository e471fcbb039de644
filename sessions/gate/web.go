package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions"
	"sallyport/verify/wire"
)

const (
	// sweepPause is the least time between two looks at all leases, so that
	// thousands of them ending one by one cost little.
	sweepPause = 10 * time.Millisecond

	readHeaderTimeout = 10 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
)

// ErrClosed is the answer to a grant when the gate has shut for good.
var ErrClosed = errors.New("the gate is shut")

// WebConfig is what NewWeb needs.
type WebConfig struct {
	Name   string // of the service, in the log
	Listen string // host:port
	Terms  WebTerms
	Log    *slog.Logger

	// ListenFunc stands in for net.Listen, if not nil.
	ListenFunc func(network, address string) (net.Listener, error)
}

// WebTerms are what may change while the gate runs.
type WebTerms struct {
	OpenFor time.Duration // what each grant adds
	OpenMax time.Duration // what a lease may have left at the most
	Anyone  bool          // while any lease runs, let every address in (the paper's way)
	Handler http.Handler  // see Pages and Directory
}

// Web is a web server that listens only while a lease runs. It implements
// sessions.Gate.
type Web struct {
	cfg  WebConfig
	wake chan struct{} // the first lease began: Run has an end to wait for

	mu     sync.Mutex
	terms  WebTerms
	leases *Leases
	guard  *guard // nil: not listening
	shut   bool
}

// NewWeb returns a closed gate. Run must run for its leases to end.
func NewWeb(cfg WebConfig) *Web {
	if cfg.ListenFunc == nil {
		cfg.ListenFunc = net.Listen
	}
	return &Web{
		cfg: cfg, wake: make(chan struct{}, 1), terms: cfg.Terms,
		leases: NewLeases(cfg.Terms.OpenFor, cfg.Terms.OpenMax),
	}
}

// Update changes the terms for what is to come, and ends the leases of all
// clients but those that stay. Other leases run on as they were granted.
func (w *Web) Update(t WebTerms, stays func(wire.Identifier) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.terms = t
	w.leases.SetTerms(t.OpenFor, t.OpenMax)
	if w.leases.Keep(stays) > 0 || !t.Anyone {
		w.settle(time.Now())
	}
}

// Open begins or extends a lease. If the server cannot listen, nothing opens.
func (w *Web) Open(g sessions.Grant) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shut {
		return ErrClosed
	}
	if w.guard == nil {
		if err := w.listen(); err != nil {
			return fmt.Errorf("open the web server: %w", err)
		}
	}
	now := time.Now()
	first := w.leases.Len() == 0
	until, fresh := w.leases.Add(g, now)
	if fresh {
		w.cfg.Log.Info("opened", "service", w.cfg.Name, "client", g.Identifier, "address", g.Address,
			"for", time.Until(until).Round(time.Second))
		w.cut(now) // a lease may have given way to this one
	}
	if first {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// Run ends leases when they are over. When ctx ends it closes the gate for
// good and returns nil.
func (w *Web) Run(ctx context.Context) error {
	defer w.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C:
		}
		if next, ok := w.sweep(); ok {
			timer.Reset(max(time.Until(next), sweepPause))
		}
	}
}

// sweep ends what is over and returns when to look again.
func (w *Web) sweep() (next time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.leases.Expire(now) > 0 {
		w.settle(now)
	}
	return w.leases.Next()
}

// settle brings listener and connections in line with the leases left.
func (w *Web) settle(now time.Time) {
	if w.guard == nil {
		return
	}
	if w.leases.Len() == 0 {
		w.hide()
		w.cfg.Log.Info("closed", "service", w.cfg.Name)
	} else {
		w.cut(now)
	}
}

// cut ends the connections of addresses without a lease.
func (w *Web) cut(now time.Time) {
	if !w.terms.Anyone {
		w.guard.cut(func(a netip.Addr) bool { return !w.leases.Allows(a, now) })
	}
}

func (w *Web) listen() error {
	l, err := w.cfg.ListenFunc("tcp", w.cfg.Listen)
	if err != nil {
		return err
	}
	w.guard = newGuard(l, w.allows)
	server := &http.Server{
		Handler:           http.HandlerFunc(w.serve),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(w.cfg.Log.Handler(), slog.LevelDebug),
	}
	go server.Serve(w.guard) // ends when hide closes the guard
	return nil
}

// serve answers with the handler that is in force.
func (w *Web) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	h := w.terms.Handler
	w.mu.Unlock()
	h.ServeHTTP(rw, r)
}

// allows is asked by the guard for each new connection.
func (w *Web) allows(a netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.terms.Anyone {
		return w.leases.Any(now)
	}
	return w.leases.Allows(a, now)
}

// hide stops listening and cuts every connection.
func (w *Web) hide() {
	if w.guard != nil {
		w.guard.Close()
		w.guard.cut(func(netip.Addr) bool { return true })
		w.guard = nil
	}
}

func (w *Web) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = true
	w.hide()
}
