package fleetlist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// server is a server that follows the list.
type server struct {
	t    *testing.T
	cfg  *config.Config
	copy *Copy
	list *List
	stop func()

	mu    sync.Mutex
	has   clients.List
	calls []Change // without lines
	fails error    // after Load
}

// serve starts a server.
func serve(t *testing.T, cfg *config.Config, log io.Writer) *server {
	t.Helper()
	if log == nil {
		log = io.Discard
	}
	l := open(t, cfg)
	l.log = slog.New(slog.NewTextHandler(log, nil))
	c, loaded, err := Start(t.Context(), cfg, time.Now, l.log)
	if err != nil {
		t.Fatal(err)
	}
	l.copy = c
	s := &server{t: t, cfg: cfg, copy: c, list: l, has: loaded.List}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.Follow(ctx, s.apply, func(context.Context, uint64, []roster.Change) {}) })
	s.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(s.stop)
	return s
}

func (s *server) apply(_ context.Context, c Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, Change{Version: c.Version, Whole: c.Whole, Clients: make([]roster.Change, len(c.Clients))})
	loaded, err := c.Load(s.cfg)
	if err == nil {
		err = s.fails
	}
	if err != nil {
		return err
	}
	s.has = loaded.List
	s.copy.Applied()
	return nil
}

func (s *server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func (s *server) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, c := range s.has {
		fmt.Fprintln(&b, c.String())
	}
	return b.String()
}

func (s *server) called() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: does not come", what)
		}
	}
}

// expects waits until the server and its copy have a list.
func (s *server) expects(what, want string) {
	s.t.Helper()
	await(s.t, what, func() bool { return s.text() == want && s.file() == want })
}

// file is the copy without its header.
func (s *server) file() string {
	text, err := os.ReadFile(s.cfg.ClientsPath)
	if err != nil {
		return ""
	}
	_, lines, _ := strings.Cut(string(text), "\n")
	return lines
}

// testFollow: two servers and their copies follow each change; a server that starts with
// the list that it has changes nothing, and one that was away catches up.
func testFollow(t *testing.T, e *etcdtest.Cluster) {
	cfg := configured(t, e)
	editor := open(t, cfg)
	editor.imports(t, "com1 one 0\ncom5 five 0\n")
	a, b := serve(t, cfg, nil), serve(t, another(t, cfg), nil)
	for i, step := range []struct{ lines, want string }{
		{"com0 zero 0\ncom3 three 0\ncom9 nine 0", "com0 zero 0\ncom1 one 0\ncom3 three 0\ncom5 five 0\ncom9 nine 0\n"},
		{"com3 again 0 services=web\ncom5 five 0 note=x", "com0 zero 0\ncom1 one 0\ncom3 again 0 services=web\ncom5 five 0 note=x\ncom9 nine 0\n"},
	} {
		editor.add(t, strings.Split(step.lines, "\n")...)
		for _, s := range []*server{a, b} {
			s.expects(fmt.Sprint("step ", i), step.want)
		}
	}
	for _, client := range []string{"com0", "com9", "com3"} {
		if _, err := editor.Remove(t.Context(), id(client)); err != nil {
			t.Fatal(err)
		}
	}
	want := "com1 one 0\ncom5 five 0 note=x\n"
	a.expects("removals", want)
	b.expects("removals", want)
	for _, c := range a.called() {
		if c.Whole {
			t.Error("a change was a whole list")
		}
	}
	lines, version, err := a.list.Read(t.Context())
	if err != nil || version != a.list.Roster().Stats().Version || written(lines) != want {
		t.Errorf("read %q, %d, %v", written(lines), version, err)
	}
	b.stop()
	again := serve(t, b.cfg, nil)
	await(t, "the list", func() bool { return again.list.Roster().Stats().Version > 0 })
	if calls := again.called(); len(calls) > 0 {
		t.Errorf("a start with the same list: %v", calls)
	}
	again.stop()
	editor.add(t, "com6 six 0")
	last := serve(t, b.cfg, nil)
	last.expects("a start with an older copy", want+"com6 six 0\n")
	await(t, "the other one", func() bool { return a.file() == want+"com6 six 0\n" })
	// Reseal is another mark for the same lines.
	calls := len(a.called())
	if err := editor.Roster().Reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.list.Roster().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	head, err := editor.Roster().Head(t.Context())
	if _, current := a.copy.lines(head); err != nil || !current || len(a.called()) != calls {
		t.Errorf("sealed again: the copy is current: %v, %d calls, %v", current, len(a.called())-calls, err)
	}
}

// testStart: a start without a copy waits for the list; a copy that does not fit the
// configuration gives way to a list that does.
func testStart(t *testing.T, e *etcdtest.Cluster) {
	cfg := configured(t, e)
	editor := open(t, cfg)
	c, loaded, err := Start(t.Context(), cfg, time.Now, editor.log)
	if err != nil || len(loaded.List) != 0 || !loaded.Whole {
		t.Fatalf("without a list: %+v, %v", loaded, err)
	}
	if l, err := c.Load(cfg); err != nil || len(l.List) != 0 || !l.Whole {
		t.Errorf("a reload without a list: %+v, %v", l, err)
	}
	editor.imports(t, "com1 one 0 services=other\n")
	_, _, err = Start(t.Context(), cfg, time.Now, editor.log)
	if err == nil || !strings.Contains(err.Error(), `service "other" is not configured`) {
		t.Errorf("an unknown service: %v", err)
	}
	editor.add(t, "com1 one 0 services=web")
	if _, loaded, err = Start(t.Context(), cfg, time.Now, editor.log); err != nil || len(loaded.List) != 1 {
		t.Errorf("corrected: %+v, %v", loaded, err)
	}
	other := another(t, cfg)
	if err := roster.RotateKeyFile(other.Fleet.ClientsKeyPath); err != nil {
		t.Fatal(err)
	}
	if err := roster.DropOldKey(other.Fleet.ClientsKeyPath); err != nil {
		t.Fatal(err)
	}
	_, _, err = Start(t.Context(), load(t, other.Path), time.Now, editor.log)
	if _, ok := errors.AsType[*roster.KeyError](err); !ok {
		t.Errorf("another key: %v", err)
	}
}

// testFull: while the copy cannot be written, the server follows nevertheless, and a reload
// gets the newest list. A list that cannot be parsed changes nothing, also by a reload, and
// one that the server refuses is tried again.
func testFull(t *testing.T, e *etcdtest.Cluster) {
	cfg := configured(t, e)
	editor := open(t, cfg)
	editor.imports(t, "com1 one 0\ncom2 two 0\n")
	var log logged
	s := serve(t, cfg, &log)
	await(t, "the list", func() bool { return s.list.Roster().Stats().Version > 0 })
	// A directory in the place of the new file: it cannot be made. (Tests may run as root.)
	if err := os.MkdirAll(cfg.ClientsPath+".new/x", 0o700); err != nil {
		t.Fatal(err)
	}
	editor.add(t, "com3 three 0")
	if _, err := editor.Remove(t.Context(), id("com1")); err != nil {
		t.Fatal(err)
	}
	want := "com2 two 0\ncom3 three 0\n"
	await(t, "the change", func() bool { return s.text() == want })
	if got := s.file(); got != "com1 one 0\ncom2 two 0\n" {
		t.Errorf("the copy was written: %q", got)
	}
	if l, err := s.copy.Load(cfg); err != nil || len(l.List) != 2 || l.List[1].Identifier != id("com3") {
		t.Errorf("a reload: %+v, %v", l, err)
	}
	if err := os.RemoveAll(cfg.ClientsPath + ".new"); err != nil {
		t.Fatal(err)
	}
	s.copy.retry(s.list.log)
	s.expects("the copy", want)
	if n := log.count("copy of the list of clients not written"); n != 1 || log.count("written again") != 1 {
		t.Errorf("%d lines", n)
	}

	err := editor.Roster().Edit(t.Context(), ids("com4"), func(map[wire.Identifier][]byte) ([]roster.Change, error) {
		return []roster.Change{{ID: id("com4"), Line: []byte("com4 hunter2 0 new=column")}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var wrong *EntryError
	await(t, "the refusal", func() bool { return errors.As(s.list.Roster().Stats().Refusal, &wrong) })
	if l, err := s.copy.Load(cfg); !errors.As(err, &wrong) || len(l.List) > 0 || s.file() != want || s.text() != want {
		t.Errorf("a reload: %v, %v; %q", l, err, s.file())
	}
	if _, err := editor.Remove(t.Context(), id("com4")); err != nil {
		t.Fatal(err)
	}
	await(t, "the removal", func() bool { return s.list.Roster().Stats().Refusal == nil })
	if l, err := s.copy.Load(cfg); err != nil || len(l.List) != 2 || strings.Contains(log.text(), "hunter2") {
		t.Errorf("after the removal: %+v, %v", l, err)
	}

	s.fail(errors.New("refused"))
	editor.add(t, "com4 four 0")
	await(t, "the refusal by the server", func() bool { return s.list.Roster().Stats().Refusal != nil })
	if s.text() != want || s.file() != want+"com4 four 0\n" {
		t.Errorf("has %q, the copy %q", s.text(), s.file())
	}
	s.fail(nil)
	s.expects("the next try", want+"com4 four 0\n")

	// Another program changes the copy.
	if err := os.WriteFile(cfg.ClientsPath, []byte("com7 seven 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if _, err := s.copy.Load(cfg); !errors.As(err, &changed) {
		t.Errorf("a reload: %v", err)
	}
	editor.add(t, "com5 five 0")
	s.expects("the copy of the list", want+"com4 four 0\ncom5 five 0\n")
}
