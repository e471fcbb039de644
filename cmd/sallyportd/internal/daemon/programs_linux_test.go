package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// fakePrograms starts no process: a server accepts at the listener that it inherits, and a
// command has succeeded at once, unless its role fails. It records all in order.
type fakePrograms struct {
	gone chan struct{}

	mu     sync.Mutex
	events []string
	fails  map[program.Role]bool
}

func (f *fakePrograms) record(event string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, event)
}

func (f *fakePrograms) recorded() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

func (f *fakePrograms) fail(r program.Role, fails bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = map[program.Role]bool{r: fails}
}

func (f *fakePrograms) Begin(instance string) error {
	f.record("begin " + instance)
	return nil
}

func (f *fakePrograms) Gone(program.ID) <-chan struct{} { return f.gone }

func (f *fakePrograms) Dropped() uint64 { return 7 }

func (f *fakePrograms) Watch(ctx context.Context, lost func(string, []program.ID, error)) {
	select {
	case <-f.gone:
		lost("www", []program.ID{{Service: "site", Role: program.Server}, {Service: "site", Role: program.OnOpen}}, errors.New("it is gone"))
	case <-ctx.Done():
	}
	<-ctx.Done()
}

func (f *fakePrograms) Close(context.Context) error {
	f.record("closed")
	return nil
}

// fakeRun is a run of a server, until Stop, or of a command.
type fakeRun struct {
	l    net.Listener
	stop sync.Once
	done chan struct{}
	err  error
	of   *fakePrograms
}

func (f *fakePrograms) Start(r program.Request) (program.Run, error) {
	run := &fakeRun{done: make(chan struct{}), of: f}
	what := string(r.Program.Role) + " " + r.Program.Service
	for _, v := range r.Env {
		if reason, ok := strings.CutPrefix(v, "SALLYPORT_REASON="); ok {
			what += " " + reason
		}
	}
	f.record(what)
	if r.Program.Role == program.Server {
		l, err := net.FileListener(r.Listener)
		if err != nil {
			return nil, err
		}
		run.l = l
		go run.accept()
		return run, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails[r.Program.Role] {
		run.err = errors.New("exit code 1")
	}
	close(run.done)
	return run, nil
}

// accept accepts connections, and ends them.
func (r *fakeRun) accept() {
	for {
		c, err := r.l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

func (r *fakeRun) Stop() {
	r.stop.Do(func() {
		if r.l != nil {
			r.l.Close()
			r.of.record("stopped")
			close(r.done)
		}
	})
}

func (r *fakeRun) Done() <-chan struct{} { return r.done }

func (r *fakeRun) Err() error { return r.err }

// logLines is the text of a log, which several goroutines write.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// watchFeed watches the grants of a server, as "sallyportd watch" does.
func watchFeed(t *testing.T, s *Server) <-chan admin.Grant {
	t.Helper()
	web := httptest.NewServer(&s.feed)
	t.Cleanup(web.Close)
	r, err := http.Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	grants := make(chan admin.Grant)
	go func() {
		defer close(grants)
		for d := json.NewDecoder(r.Body); ; {
			var g admin.Grant
			if d.Decode(&g) != nil {
				return
			}
			grants <- g
		}
	}()
	return grants
}

// TestProgramsWired: a grant starts the program and the opening command, the watchers
// see it when the service opens, and a server that stops closes first, then runs the
// closing commands, and stops the processes that start programs last.
func TestProgramsWired(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	cfg := configtest.Parse(t, dir, `
listen = ["127.0.0.1"]
[[service]]
name = "site"
type = "process"
listen = "127.0.0.1:8443"
program = ["/bin/site"]
program_user = "www"
upstream = "inherit"
on_open = ["/bin/open"]
on_close = ["/bin/close"]
command_user = "www"
open_for = "1h"
open_max = "1h"
[[service]]
name = "hook"
type = "command"
on_open = ["/bin/open"]
command_user = "www"
`)
	if err := state.Create(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	list := clients.List{{Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1")}}
	_, err := New(t.Context(), cfg, list, nil, Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "no process starts them") {
		t.Fatalf("without processes that start programs: %v", err)
	}
	// A record that is not whole does not prevent a start.
	if err := os.WriteFile(filepath.Join(cfg.StateDir, state.ClosingFileName), []byte("damaged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	programs := &fakePrograms{gone: make(chan struct{})}
	log := new(logLines)
	s, err := New(t.Context(), cfg, list, nil, Env{Clock: clock.System(), Log: slog.New(slog.NewTextHandler(log, nil)), Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	if s.Counters()["program_output_dropped"] != 7 {
		t.Error("the dropped lines are not counted")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	grants := watchFeed(t, s)

	grant := sessions.Grant{Identifier: wire.Identifier([]byte("com1")), Address: netip.MustParseAddr("127.0.0.1")}
	if text := log.String(); !strings.Contains(text, "closing commands not readable") {
		t.Errorf("a damaged record is not in the log: %s", text)
	}
	if err := errors.Join(s.gate.Open([]sessions.Grant{grant})...); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for len(seen) < 2 {
		g := <-grants
		if len(g.Services) != 1 || g.Client != "com1" || g.Address != grant.Address || seen[g.Services[0]] {
			t.Fatalf("watchers see %+v", g)
		}
		seen[g.Services[0]] = true
	}
	c, err := net.Dial("tcp", "127.0.0.1:8443")
	if err != nil {
		t.Errorf("a watcher has seen a service that is closed: %v", err)
	} else {
		c.Close()
	}
	for _, l := range s.leases() {
		if !l.InForce || l.Waits != "" {
			t.Errorf("not in force: %+v", l)
		}
	}
	if w := s.gate.Waiting(); len(w) > 0 {
		t.Errorf("waiting: %v", w)
	}

	programs.fail(program.OnClose, true)
	s.gate.EndAll()
	netns.Until(t, "a failing command", func() bool {
		f := s.failing()
		return f.All == 1 && f.Commands[0].Service == "site" && f.Commands[0].Client == "com1" && f.Commands[0].Error != ""
	})
	programs.fail(program.OnClose, false)
	netns.Until(t, "the repeated command", func() bool { return s.failing().All == 0 })

	close(programs.gone)
	netns.Until(t, "the loss", func() bool {
		return s.gate.Waiting()["site"] != "" && strings.Contains(log.String(), `msg="runner lost; its services stay closed" user=www services=site`) &&
			slices.Equal(s.status().RunnersLost, []string{"www"})
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	events := programs.recorded()
	some := slices.Contains(events, "on_open site knock") && slices.Contains(events, "stopped")
	if !some || events[0] != "begin "+cfg.StateDir || events[len(events)-1] != "closed" {
		t.Errorf("in order: %q", events)
	}
}
