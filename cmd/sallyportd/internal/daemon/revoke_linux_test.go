package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock"
)

func (r *reloadable) clients(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, config.ClientsName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *reloadable) knocks(t *testing.T, id string) bool {
	t.Helper()
	return r.opens(t, id, old.secret, old.portSecret, old.ports)
}

// TestRevocationWhateverFails: neither a part of the server that rejects its share
// nor a line that cannot be read prevents a revocation; and only a file without
// faults gives a right back.
func TestRevocationWhateverFails(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	r := startReloadable(t, false)
	const left, stay = "left the-old-secret-of-a-client 0\n", "stay the-old-secret-of-a-client 0 services=web\n"
	if !r.knocks(t, "left") {
		t.Fatal("not let in")
	}
	served := func() bool {
		_, err := r.page("127.0.0.1")
		return err == nil
	}
	steps, failure := r.steps, errors.New("the state file is in trouble")
	r.steps = slices.Insert(slices.Clone(steps), 1, step{"injected", func(context.Context, *change) error { return failure }})
	r.clients(t, stay)
	done, err := r.Restrict(t.Context(), admin.Restriction{Client: "left"})
	if err != nil || !strings.Contains(done.Refused, failure.Error()) || done.Clients != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if served() || r.knocks(t, "left") || served() || !r.knocks(t, "stay") {
		t.Error("the one that is revoked gets in, or the other one does not")
	}
	netns.Until(t, "what is counted as opened to be open", served)
	// A file that was only edited takes its rights away as well, with time for what
	// is open.
	r.clients(t, "new1 the-old-secret-of-a-client 0\n")
	if _, err := r.ReloadClients(t.Context()); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if !served() || r.knocks(t, "stay") || r.knocks(t, "new1") {
		t.Error("what is open has ended, or who is missing gets in, or who is new")
	}
	r.steps = steps
	// A faulty file gives nothing back.
	r.clients(t, left+stay+"what is this\n")
	if _, err := r.ReloadClients(t.Context()); err == nil || r.knocks(t, "left") || r.knocks(t, "stay") {
		t.Errorf("let in by a faulty file: %v", err)
	}
	done, err = r.Restrict(t.Context(), admin.Restriction{Client: "stay"})
	if err != nil || done.Refused == "" || served() {
		t.Errorf("%+v, %v; served %v", done, err, served())
	}
	r.clients(t, left+stay)
	if done, err := r.Restrict(t.Context(), admin.Restriction{Client: "stay"}); err == nil {
		t.Errorf("a client that the file names is revoked: %+v", done)
	}
	// For what is stamped up to then, no client has come back.
	for _, id := range []string{"left", "stay"} {
		netns.Until(t, "a good file to give its right back to "+id, func() bool {
			time.Sleep(300 * time.Millisecond)
			return r.knocks(t, id)
		})
	}
	if !served() {
		t.Error("a good file gives no right back")
	}
	// A file that cannot be changed, and names them: they go until it is read.
	for _, id := range []string{"left", "stay"} {
		done, err := r.Restrict(t.Context(), admin.Restriction{Client: id, Named: true})
		if err != nil || done.Refused != "" {
			t.Errorf("%+v, %v", done, err)
		}
	}
	if served() || r.knocks(t, "stay") || served() {
		t.Error("a client that is revoked, and that the file names, gets in")
	}
	if _, err := r.ReloadClients(t.Context()); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"left", "stay"} {
		netns.Until(t, "the file to give its right back to "+id, func() bool {
			time.Sleep(300 * time.Millisecond)
			return r.knocks(t, id)
		})
	}
	// Rights alone.
	r.clients(t, left+stay+"what is this\n")
	done, err = r.Restrict(t.Context(), admin.Restriction{Client: "left", Services: []string{"two"}})
	if err != nil || done.Less {
		t.Errorf("%+v, %v", done, err)
	}
	done, err = r.Restrict(t.Context(), admin.Restriction{Client: "stay", Services: []string{"two"}})
	if err != nil || !done.Less || served() {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := r.Restrict(t.Context(), admin.Restriction{Client: "stay", Services: []string{"three"}}); err == nil {
		t.Error("a service that is not there")
	}
}

// TestMissingInTheFile: a client that is missing without a command of the
// administrator gets no new grant, keeps its lease until the file has been unchanged
// for a while, and is logged.
func TestMissingInTheFile(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var log logText
	// look is what the server does when so much time has passed.
	var passed atomic.Int64
	host := clock.System()
	monotonic := host.Monotonic
	host.Monotonic = func() time.Time { return monotonic().Add(time.Duration(passed.Load())) }
	r := startReloadableIn(t, false, Env{Clock: host, Log: slog.New(slog.NewTextHandler(&log, nil))})
	served := func() bool {
		_, err := r.page("127.0.0.1")
		return err == nil
	}
	if !r.knocks(t, "left") {
		t.Fatal("not let in")
	}
	netns.Until(t, "what is counted as opened to be open", served)
	var w clients.Watch
	path := filepath.Join(r.dir, config.ClientsName)
	look := func(pass time.Duration) {
		passed.Add(int64(pass))
		r.checkClients(t.Context(), &w, path)
	}
	look(0)
	r.clients(t, "")
	look(0)
	look(time.Second)
	if r.knocks(t, "left") || r.knocks(t, "stay") || !served() || !strings.Contains(log.String(), "clients=2 with_leases=1 clients_settle=5s") {
		t.Errorf("at once: served %v\n%s", served(), &log)
	}
	r.clients(t, old.clients)
	look(0)
	look(time.Second)
	look(time.Hour)
	if !served() {
		t.Error("one that came back was cut off")
	}
	// Half a line waits, however long, and is logged once.
	r.clients(t, "left the-old-secret-of-a-client 0\nstay the-old-secret-of-a-client 0")
	for range 5 {
		look(time.Minute)
	}
	got := r.gate.Names([4]byte([]byte("stay")))
	if !slices.Equal(got, []string{"web"}) || strings.Count(log.String(), "the last line does not end with a newline") != 1 {
		t.Errorf("may open %v\n%s", got, &log)
	}
	r.clients(t, "stay the-old-secret-of-a-client 0 services=web\n")
	look(0)
	look(time.Second)
	if !served() {
		t.Error("cut off at once")
	}
	look(5 * time.Second)
	if served() || !strings.Contains(log.String(), "cut off clients missing") {
		t.Errorf("never cut off\n%s", &log)
	}
	// The server retries a failed change, and logs one line.
	if err := errors.Join(os.Chmod(path, 0o644), os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		look(time.Minute)
	}
	if n := strings.Count(log.String(), "others may read"); n != 1 {
		t.Errorf("%d lines\n%s", n, &log)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reloads := strings.Count(log.String(), "msg=reloaded")
	look(0)
	look(time.Minute)
	if strings.Count(log.String(), "msg=reloaded") != reloads+1 {
		t.Errorf("a change of the mode is not seen\n%s", &log)
	}
}
