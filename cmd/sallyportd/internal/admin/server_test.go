package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/cmd/internal/hint"
)

// serve runs a server until the test ends, with what it does for the commands.
func serve(t *testing.T, h Handlers) Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	if h.Grants == nil {
		h.Grants = new(Feed)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, path, h) }()
	for !Running(path) {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return Conn{Socket: path}
}

func TestCommands(t *testing.T) {
	var refusal error = errors.New("c.toml:1: ports: expected a number")
	var feed Feed
	c := serve(t, Handlers{
		Reload: func(context.Context) (Reloaded, error) { return Reloaded{}, refusal },
		ReloadClients: func(context.Context) (Reloaded, error) {
			return Reloaded{Clients: 7, OutdatedProfiles: []string{"ports"}}, nil
		},
		State: func(w io.Writer) error {
			_, err := io.WriteString(w, "the state")
			return err
		},
		Grants: &feed,
	})
	if info, err := os.Stat(c.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode: %v, %v", info.Mode(), err)
	}
	_, err := c.Reload(t.Context())
	if err == nil || err.Error() != "the server rejected the change, and keeps its old settings: "+refusal.Error() {
		t.Errorf("reload: %v", err)
	}
	if done, err := c.ReloadClients(t.Context()); err != nil || done.Clients != 7 || len(done.OutdatedProfiles) != 1 {
		t.Errorf("reload clients: %+v, %v", done, err)
	}
	refusal = &StoppingError{errors.New("ports")}
	if _, err := c.Reload(t.Context()); err == nil || err.Error() != "the server stops: ports" {
		t.Errorf("reload half-way: %v", err)
	}
	if copied, err := c.State(t.Context()); err != nil || string(copied) != "the state" {
		t.Errorf("state: %q, %v", copied, err)
	}
	enough := errors.New("enough")
	err = c.Watch(t.Context(), func() { feed.Publish(Grant{Client: "com1"}) }, func(g Grant) error {
		if g.Client != "com1" {
			t.Errorf("watched %+v", g)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("watch: %v", err)
	}
}

// TestHalfAStateIsNone: a copy that breaks off is an error, and not a shorter one.
func TestHalfAStateIsNone(t *testing.T) {
	c := serve(t, Handlers{State: func(w io.Writer) error {
		w.Write(make([]byte, 1<<20))
		return errors.New("the disk is gone")
	}})
	if copied, err := c.State(t.Context()); err == nil {
		t.Errorf("%d bytes without an error", len(copied))
	}
}

func TestNoServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close() // as after a crash
	for _, path := range []string{path, path + ".none"} {
		var unreachable *UnreachableError
		_, err := Conn{Socket: path}.Reload(t.Context())
		if !errors.As(err, &unreachable) || !unreachable.Stopped() || !strings.Contains(unreachable.Hint(), path) {
			t.Errorf("%s: %v", path, err)
		}
		if Running(path) {
			t.Errorf("%s: a server runs", path)
		}
	}
}

func TestStaleSockets(t *testing.T) {
	dir := t.TempDir()
	running := serve(t, Handlers{})
	err := Serve(t.Context(), running.Socket, Handlers{})
	if err == nil || !strings.Contains(err.Error(), "another server answers at this socket") {
		t.Errorf("a second server: %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = Serve(t.Context(), text, Handlers{})
	if err == nil || !strings.Contains(err.Error(), "expected no file or a socket") {
		t.Errorf("a file: %v", err)
	}
	if got, err := os.ReadFile(text); err != nil || string(got) != "x" {
		t.Errorf("the file: %q, %v", got, err)
	}
	left := filepath.Join(dir, "left")
	l, err := net.Listen("unix", left)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := removeStale(left); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("what a crash has left is there: %v", err)
	}
}

// TestAnswersHaveAnEnd: the process that answers at the socket may not be the
// server.
func TestAnswersHaveAnEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	block := []byte(strings.Repeat("x", 1<<20))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		w.Write([]byte(`{"client":"`))
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})}
	go server.Serve(l)
	defer server.Close()
	c := Conn{Socket: path, stateLimit: 4 << 20}
	if _, err := c.State(t.Context()); err == nil || !strings.Contains(err.Error(), "got more") {
		t.Errorf("state: %v", err)
	}
	if _, err := c.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "got more") {
		t.Errorf("reload: %v", err)
	}
	err = c.Watch(t.Context(), func() {}, func(Grant) error { return nil })
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v", err)
	}
	if _, err := c.change(t.Context(), "/refused"); err == nil || len(err.Error()) > maxAnswer+100 {
		t.Errorf("refused: %d bytes", len(err.Error()))
	}
}

// TestRestrict: what is asked for comes to the server, and its answer back.
func TestRestrict(t *testing.T) {
	var asked Restriction
	var refusal error
	answer := Restricted{Clients: 3, Refused: "clients.txt:1: no", Less: true}
	c := serve(t, Handlers{Restrict: func(_ context.Context, r Restriction) (Restricted, error) {
		asked = r
		return answer, refusal
	}})
	done, err := c.Restrict(t.Context(), Restriction{Client: "com1", Services: []string{"web"}})
	if err != nil || done != answer || asked.Client != "com1" || len(asked.Services) != 1 || asked.Services[0] != "web" {
		t.Errorf("asked %+v, got %+v, %v", asked, done, err)
	}
	refusal = errors.New("there is no such service")
	var refused *RefusedError
	_, err = c.Restrict(t.Context(), Restriction{Client: "com1"})
	if !errors.As(err, &refused) || err.Error() != refusal.Error() || refused.Hint() != "" || asked.Services != nil {
		t.Errorf("asked %+v, %v", asked, err)
	}
	refusal = hint.With(refusal, "100 %\nof both lines")
	_, err = c.Restrict(t.Context(), Restriction{Client: "com1"})
	if !errors.As(err, &refused) || refused.Hint() != "100 %\nof both lines" {
		t.Errorf("hint: %q, %v", refused.Hint(), err)
	}
	asked = Restriction{}
	_, err = c.Restrict(t.Context(), Restriction{Client: strings.Repeat("x", maxRestriction)})
	if !errors.As(err, &refused) || asked.Client != "" {
		t.Errorf("a request without bounds: %v", err)
	}
}

// TestErrorsAreLogged: the errors of the HTTP server are lines of the server's log.
func TestErrorsAreLogged(t *testing.T) {
	var text lockedText
	c := serve(t, Handlers{
		Log:    slog.New(slog.NewJSONHandler(&text, nil)),
		Reload: func(context.Context) (Reloaded, error) { panic("of a request") },
	})
	if _, err := c.Reload(t.Context()); err == nil {
		t.Fatal("reloaded")
	}
	for began := time.Now(); !strings.Contains(text.String(), "of a request"); time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("logged %q", text.String())
		}
	}
	for line := range strings.Lines(text.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not of the log: %q", line)
		}
	}
}

type lockedText struct {
	sync.Mutex
	strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Builder.Write(b)
}

func (l *lockedText) String() string {
	l.Lock()
	defer l.Unlock()
	return l.Builder.String()
}
