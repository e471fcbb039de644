package main

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
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

// adminTimeout bounds a call on the admin socket, on both sides.
const adminTimeout = 30 * time.Second

// serveAdmin answers the administrator's commands on a Unix socket that only
// this user can open, until ctx ends. It speaks HTTP: POST /reload answers 204,
// or 422 and the error; GET /state a copy of the state file; GET /traffic all
// counters; GET /grants a line for each grant as it takes effect; and GET
// /debug/pprof/profile a CPU profile, which tells the stages apart.
func serveAdmin(ctx context.Context, path string, r *reloader) error {
	if err := removeStale(path); err != nil {
		return err
	}
	// Born closed to others: the mode of a socket is set too late.
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		// Not under the request's context: who hangs up must not leave the
		// change half done.
		if err := r.reload(ctx); err != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			io.WriteString(w, err.Error())
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /grants", r.server.grants.serveGrants)
	mux.HandleFunc("GET /traffic", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(r.server.traffic().all())
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		copied := &countingWriter{w: w}
		err := r.server.state.Snapshot(copied)
		if err != nil && copied.n == 0 {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		} else if err != nil {
			panic(http.ErrAbortHandler) // or half a copy would pass for a whole one
		}
	})
	server := &http.Server{Handler: mux, ReadTimeout: adminTimeout, WriteTimeout: adminTimeout}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
	c, err := net.DialTimeout("unix", path, adminTimeout)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s: another server answers there", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

func reloadCommand(env cli.Env) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the running server read its configuration and clients again",
		Long: `Have the running server read its configuration and clients again.

Everything is checked before anything changes; if something is wrong, the
server goes on as it was, and the error is printed here. SIGHUP does the same.
A change of the clients file is noticed without either.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return cli.Misuse(err)
			}
			if err := askReload(c.Context(), cfg.adminSocket); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "reloaded: %d clients\n", len(cfg.clients))
			return err
		},
	}
	addConfigFlag(c, &path)
	return c
}

func askReload(ctx context.Context, path string) error {
	answer, err := ask(ctx, path, http.MethodPost, "/reload")
	var refusal *refusalError
	if errors.As(err, &refusal) {
		return fmt.Errorf("the server goes on as it was: %w", refusal)
	}
	if err != nil {
		return err
	}
	return answer.Close()
}

// ask calls the running server. The answer has to be closed.
func ask(ctx context.Context, socket, method, path string) (io.ReadCloser, error) {
	client := http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: adminTimeout, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://sallyportd"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, cli.WithHint(fmt.Errorf("reach the server: %w", cause(err)), "is it running, with this configuration and as this user? Its admin socket is "+socket)
	}
	if response.StatusCode/100 == 2 {
		return response.Body, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return nil, &refusalError{strings.TrimSpace(string(text))}
}

// refusalError is what the server says against a request.
type refusalError struct{ text string }

func (e *refusalError) Error() string { return e.text }
