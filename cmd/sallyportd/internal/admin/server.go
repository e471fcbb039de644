package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timeout bounds a call, on both sides.
const timeout = 30 * time.Second

// Handlers are what the server does for the commands. They may be called
// concurrently.
type Handlers struct {
	Reload        func(context.Context) (clients int, err error)
	ReloadClients func(context.Context) (clients int, err error)
	// Restrict is ReloadClients, and takes rights from a client whatever comes of
	// that.
	Restrict func(context.Context, Restriction) (Restricted, error)
	Grants   *Feed
	State    func(io.Writer) error
	Counters func() map[string]uint64
}

// Serve answers the administrator's commands on a socket at path until ctx
// ends.
func Serve(ctx context.Context, path string, h Handlers) error {
	if err := removeStale(path); err != nil {
		return err
	}
	l, err := listen(ctx, path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	// Not under the request's context: a command that ends early must not leave
	// the change half done.
	change := func(reload func(context.Context) (int, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			n, err := reload(ctx)
			answer(w)(reloaded{n}, err)
		}
	}
	mux.HandleFunc("POST /reload", change(h.Reload))
	mux.HandleFunc("POST /reload/clients", change(h.ReloadClients))
	mux.HandleFunc("POST /restrict", func(w http.ResponseWriter, r *http.Request) {
		var asked Restriction
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRestriction)).Decode(&asked); err != nil {
			http.Error(w, "expected a restriction, as JSON", http.StatusBadRequest)
			return
		}
		answer(w)(h.Restrict(ctx, asked))
	})
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.Handle("GET /grants", h.Grants)
	mux.HandleFunc("GET /traffic", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(h.Counters())
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		copied := &countingWriter{w: w}
		err := h.State(copied)
		if err != nil && copied.n == 0 {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		} else if err != nil {
			panic(http.ErrAbortHandler) // or half a copy would pass for a whole one
		}
	})
	server := &http.Server{Handler: mux, ReadTimeout: timeout, WriteTimeout: timeout}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// reloaded is the answer to a reload.
type reloaded struct {
	Clients int `json:"clients"`
}

// StoppingError says that a change has failed after it had begun to take effect:
// the server ends by it.
type StoppingError struct{ Err error }

func (e *StoppingError) Error() string { return "the server stops: " + e.Err.Error() }
func (e *StoppingError) Unwrap() error { return e.Err }

func answer(w http.ResponseWriter) func(result any, err error) {
	return func(result any, err error) {
		var stopping *StoppingError
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

// listen makes a socket that is closed to others before it is there: a file's
// mode that is set afterwards is set too late.
func listen(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return failed
	}}
	return lc.Listen(ctx, "unix", path)
}

// countingWriter knows whether anything was written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// removeStale removes a socket that a crash has left. One that a server still
// answers on stays.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s: there is something else in the socket's place", path)
	}
	running, err := dial(path)
	switch {
	case running:
		return fmt.Errorf("%s: another server answers there", path)
	case err != nil:
		return err
	}
	return os.Remove(path)
}
