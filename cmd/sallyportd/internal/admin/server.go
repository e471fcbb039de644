package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/fleet/relay"
	"sallyport/sessions/socketpath"
)

// Timeout bounds a request, on both sides.
const Timeout = 30 * time.Second

// Handlers execute the requests of the commands. They may be called concurrently.
type Handlers struct {
	Reload        func(context.Context) (Reloaded, error)
	ReloadClients func(context.Context) (Reloaded, error)
	// ReloadOnTrial is Reload, with newly hidden services on trial for a time.
	ReloadOnTrial func(context.Context, time.Duration) (Reloaded, error)
	// Restrict is ReloadClients, and takes rights from a client even if that
	// fails.
	Restrict func(context.Context, Restriction) (Restricted, error)
	Grants   *Feed
	State    func(io.Writer) error
	// Waiting returns why services stay closed even for clients with a lease, and why
	// listeners for exchanges over HTTP and DNS are not bound, by their names.
	Waiting func() map[string]string
	Failing func() Failing
	// TooFar returns the clients of which the shield refuses knocks; Resync makes it
	// accept those of a client.
	TooFar   func() []TooFar
	Resync   func(context.Context, Resync) (Resynced, error)
	Counters func() map[string]uint64
	// Shield returns what the shield does now; nil: the configuration has none.
	Shield func() *Shield
	// Relay returns what the server knows of other gateways; nil: there is no relay.
	Relay func() []relay.Reach
	// Leases returns all leases; CloseLeases ends some of them.
	Leases      func() []Lease
	CloseLeases func(Closing) Closed
	// Uses returns how often the operations with a limit may still be used; ResetUses
	// counts those of one from zero.
	Uses      func() []Uses
	ResetUses func(ResetUses) (Uses, error)
	// AwaitList waits for the list of clients of a fleet; AcceptList accepts it.
	AwaitList  func(context.Context) (ListStatus, error)
	AcceptList func(context.Context) (ListStatus, error)
	// Status returns what the server does now, and Metrics writes the metrics. Neither
	// waits for the way of a knock, or for a reload.
	Status  func() Status
	Metrics func(io.Writer) error
	// History returns what the server has refused and closed in the last hour, and LogTail
	// the last lines of its log.
	History func() History
	LogTail func() []string
	// Trace starts a trace, whose lines end with it. When the context ends, so does the trace.
	Trace func(context.Context, Trace) (<-chan TraceLine, error)
	// Confirm ends the trials that run.
	Confirm func(context.Context) (Confirmation, error)
	// Log gets the errors of the HTTP server: a connection that cannot be accepted, or
	// a request that panics. Nil: they are dropped.
	Log *slog.Logger
}

// Serve serves the administrator's commands on a socket at path until ctx ends.
func Serve(ctx context.Context, path string, h Handlers) error {
	if err := removeStale(path); err != nil {
		return err
	}
	l, err := listen(ctx, path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	// Not with the request's context: a command that ends early must not leave the
	// change half done.
	change := func(reload func(context.Context) (Reloaded, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			done, err := reload(ctx)
			answer(w)(done, err)
		}
	}
	mux.HandleFunc("POST /reload", change(h.Reload))
	mux.HandleFunc("POST /reload/trial", func(w http.ResponseWriter, r *http.Request) { h.serveTrial(ctx, w, r) })
	mux.HandleFunc("POST /reload/clients", change(h.ReloadClients))
	mux.HandleFunc("POST /restrict", func(w http.ResponseWriter, r *http.Request) {
		var asked Restriction
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRestriction)).Decode(&asked); err != nil {
			http.Error(w, "expected a restriction as JSON: "+err.Error(), http.StatusBadRequest)
			return
		}
		answer(w)(h.Restrict(ctx, asked))
	})
	h.serveLeases(mux)
	h.serveFailing(mux)
	h.serveResync(ctx, mux)
	h.serveUses(mux)
	h.serveList(ctx, mux)
	h.serveStatus(mux)
	h.serveHistory(mux)
	h.serveTrace(mux)
	h.serveConfirm(ctx, mux)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.Handle("GET /grants", h.Grants)
	mux.HandleFunc("GET /traffic", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Counters())
	})
	h.serveShield(mux)
	h.serveRelay(mux)
	mux.HandleFunc("GET /waiting", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Waiting())
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		copied := &countingWriter{w: w}
		err := h.State(copied)
		if err != nil && copied.n == 0 {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		} else if err != nil {
			panic(http.ErrAbortHandler) // so that the reader notices that the copy is incomplete
		}
	})
	server := &http.Server{
		Handler: versioned(mux), ReadTimeout: Timeout, WriteTimeout: Timeout,
		ErrorLog: slog.NewLogLogger(reporter(func(err string) {
			cmp.Or(h.Log, slog.New(slog.DiscardHandler)).Warn("failed to serve the admin socket", "error", err)
		}), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Reloaded is the result of a reload.
type Reloaded struct {
	Clients int `json:"clients"` // how many there are
	// OutdatedProfiles are the keys that profiles repeat, and that have changed.
	OutdatedProfiles []string `json:"outdated_profiles,omitempty"`
	// OnTrial is what is on trial after a reload that asks for a trial.
	OnTrial []Trial `json:"on_trial,omitempty"`
}

// StoppingError means that a change failed after a part of it had taken effect, so
// that the server stops.
type StoppingError struct{ Err error }

func (e *StoppingError) Error() string { return "the server stops: " + e.Err.Error() }
func (e *StoppingError) Unwrap() error { return e.Err }

// hintHeader has the hint of an error, escaped as a path, because it may have several lines.
const hintHeader = "Sallyport-Hint"

func answer(w http.ResponseWriter) func(result any, err error) {
	return func(result any, err error) {
		var stopping *StoppingError
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			w.Header().Set(hintHeader, url.PathEscape(hinted.Hint()))
		}
		switch {
		case err == nil:
			json.NewEncoder(w).Encode(result)
			return
		case errors.As(err, &stopping):
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		io.WriteString(w, err.Error())
	}
}

// listen makes a socket that only its owner can open, from the moment at which
// it exists: to set the file's mode afterwards would be too late.
func listen(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return failed
	}}
	short, err := socketpath.Keep(path)
	if err != nil {
		return nil, err
	}
	return lc.Listen(ctx, "unix", short)
}

// countingWriter counts the bytes that were written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// removeStale removes a socket that a crash has left. It fails if a server still
// answers there.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s: expected no file or a socket, got a file of another type", path)
	}
	running, err := dial(path)
	switch {
	case running:
		return fmt.Errorf("%s: another server answers at this socket", path)
	case err != nil:
		return err
	}
	return os.Remove(path)
}
