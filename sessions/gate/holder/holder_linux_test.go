package holder_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
)

// shared is a fakeFirewall for concurrent use.
type shared struct {
	mu sync.Mutex
	fakeFirewall
}

func (f *shared) Apply(c []access.Change) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fakeFirewall.Apply(c)
}

func (f *shared) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fakeFirewall.Close()
}

func (f *shared) closes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *shared) changes() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.applied)
}

func configOf(f holder.Firewall, digest byte) holder.Config {
	return holder.Config{Policy: oneService, Digest: holder.Digest{digest}, Claim: holder.Claimed(f), Schedule: highPorts, Clock: running, Log: slog.New(slog.DiscardHandler)}
}

// hold starts a holder at a separate socket.
func hold(t *testing.T, path string, cfg holder.Config) (h *holder.Holder, stop func()) {
	t.Helper()
	l, err := holder.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	h = holder.NewHolder(cfg, uint32(os.Geteuid()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return h, stop
}

func reach(t *testing.T, path string, digest byte) (*holder.Conn, error) {
	c := holder.NewDialingConn(holder.Dialer(path), running)
	return c, c.Begin(t.Context(), holder.Digest{digest})
}

// TestHolderServesOneServerAfterAnother: one at a time.
func TestHolderServesOneServerAfterAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var f shared
	hold(t, path, configOf(&f, 1))
	first, err := reach(t, path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := one(holder.NewEnforcer(first), opens(peer("192.0.2.1"), time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := reach(t, path, 1); err == nil || !strings.Contains(err.Error(), "another server has the firewall") {
		t.Errorf("a second server: %v", err)
	}
	if f.closes() != 0 {
		t.Error("the second server has closed what the first one opened")
	}
	if err := first.Stop(); err != nil || f.closes() != 1 {
		t.Errorf("stopped with %v, closed %d times", err, f.closes())
	}
	// A waiting server has its turn when the one before dies.
	second, err := reach(t, path, 1)
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan error, 1)
	go func() {
		third, err := reach(t, path, 1)
		if err == nil {
			err = third.Stop()
		}
		next <- err
	}()
	time.Sleep(50 * time.Millisecond) // not a condition: it may as well come later
	second.Kill()
	if err := <-next; err != nil {
		t.Error(err)
	}
	if f.closes() != 3 {
		t.Errorf("closed %d times", f.closes())
	}
	if _, err := reach(t, path, 2); !errors.Is(err, holder.ErrOtherConfiguration) {
		t.Errorf("of another configuration: %v", err)
	}
	if f.closes() != 3 {
		t.Error("a server of another configuration has touched the firewall")
	}
}

// TestServerOutlivesItsHolder: all leases are void, nothing opens until the
// next holder, and that one serves the same server.
func TestServerOutlivesItsHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var f shared
	_, stop := hold(t, path, configOf(&f, 1))
	c, err := reach(t, path, 1)
	if err != nil {
		t.Fatal(err)
	}
	e := holder.NewEnforcer(c, ssh)
	a, b, shares := peer("192.0.2.1"), peer("192.0.2.2"), peer("192.0.2.3")
	err = errors.Join(one(e, opens(a, time.Hour)), one(e, opens(b, time.Hour)), one(e, opens(shares, time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan string, 100)
	tried := sync.OnceFunc(func() { events <- "tried" })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, holder.Events{
			Lost: func(why error) {
				if !errors.Is(why, holder.ErrDead) {
					t.Error(why)
				}
				events <- "lost"
			},
			Tried: func(error) { tried() },
			Found: func() { events <- "found" },
		})
	}()
	expect := func(want string) {
		t.Helper()
		if got := <-events; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	stop()
	expect("lost")
	expect("tried")
	if f.closes() != 1 {
		t.Errorf("closed %d times", f.closes())
	}
	if err := one(e, opens(a, time.Hour)); !errors.Is(err, holder.ErrDead) || errors.Is(err, net.ErrClosed) {
		t.Errorf("a grant without a holder: %v", err)
	}
	if err := one(e, revokes(a, false)); err != nil {
		t.Errorf("the end of what is void: %v", err)
	}
	if e.Owes() {
		t.Error("owes without a cause")
	}
	for _, p := range []access.Peer{b, shares} {
		if err := one(e, revokes(p, true)); !errors.Is(err, holder.ErrDead) || !e.Owes() {
			t.Errorf("connections without a holder: %v", err)
		}
	}
	var next shared
	next.ended = make(chan []access.Change, 1)
	hold(t, path, configOf(&next, 1))
	expect("found")
	// An earlier grant of a neighbour does not save them.
	if err := errors.Join(one(e, opens(shares, time.Hour)), e.Resume()); err != nil {
		t.Error(err)
	}
	cut := map[access.Peer]bool{}
	for len(cut) < 2 {
		for _, c := range <-next.ended {
			cut[c.Peer] = true
		}
	}
	if !cut[b] || !cut[shares] || e.Owes() {
		t.Errorf("cut %v", cut)
	}
	before := next.changes()
	if err := e.Resume(); err != nil || next.changes() != before {
		t.Errorf("again: %v", err)
	}
	if err := one(e, opens(a, time.Hour)); err != nil {
		t.Error(err)
	}
	cancel()
	if err := errors.Join(<-ended, c.Stop()); err != nil || next.closes() != 1 {
		t.Errorf("stopped with %v, closed %d times", err, next.closes())
	}
}

// TestHolderReplacesConfiguration: the holder disconnects the server of the old
// configuration, and closes everything before it uses the new one.
func TestHolderReplacesConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var f, g shared
	h, _ := hold(t, path, configOf(&f, 1))
	c, err := reach(t, path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Replace(t.Context(), func() (holder.Config, error) {
		if f.closes() != 1 {
			t.Error("open for the old server")
		}
		return configOf(&g, 2), nil
	}); err != nil {
		t.Fatal(err)
	}
	<-c.Dead()
	if _, err := reach(t, path, 1); !errors.Is(err, holder.ErrOtherConfiguration) {
		t.Errorf("the old one: %v", err)
	}
	fails := errors.New("no")
	err = h.Replace(t.Context(), func() (holder.Config, error) { return holder.Config{}, fails })
	if !errors.Is(err, fails) {
		t.Error(err)
	}
	if c, err = reach(t, path, 2); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(); err != nil || g.closes() != 1 {
		t.Errorf("stopped with %v, closed %d times", err, g.closes())
	}
}

// TestSocketsOfOtherUsers: neither end accepts a connection of another user.
func TestSocketsOfOtherUsers(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != "/"; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil || info.Mode().Perm()&0o011 != 0o011 && os.Chmod(d, info.Mode().Perm()|0o011) != nil {
			t.Fatal(d, err)
		}
	}
	path := filepath.Join(dir, "s")
	var f shared
	l, err := holder.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // as if its directory were the only guard
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go holder.NewHolder(configOf(&f, 1), 65533).Serve(ctx, l)
	err = asUser(65534, func() error { _, err := reach(t, path, 1); return err })
	if err == nil || !strings.Contains(err.Error(), "got one of user 65534") {
		t.Errorf("a server of a stranger: %v", err)
	}
	if err := asUser(65533, func() error {
		c, err := reach(t, path, 1)
		if err == nil {
			err = c.Stop()
		}
		return err
	}); err != nil {
		t.Errorf("a server of the user: %v", err)
	}
	// A holder of another user.
	false4 := filepath.Join(dir, "false")
	var stranger *net.UnixListener
	if err := asUser(65534, func() (err error) {
		stranger, err = holder.Listen(t.Context(), false4)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	_, err = holder.Dialer(false4)(t.Context())
	if err == nil || !strings.Contains(err.Error(), "got one of user 65534") {
		t.Errorf("a holder of a stranger: %v", err)
	}
	if holder.Answers(t.Context(), false4) || !holder.Answers(t.Context(), path) {
		t.Error("the trusted users are not named")
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := holder.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = holder.Listen(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "another holder answers") {
		t.Errorf("next to another: %v", err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if l, err = holder.Listen(t.Context(), path); err != nil {
		t.Errorf("after a crash: %v", err)
	} else {
		l.Close()
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "expected a socket") {
		t.Errorf("a file: %v", err)
	}
}

// asUser calls f on a thread of another user, which ends with the call.
func asUser(uid int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			done <- e
			return
		}
		done <- f()
	}()
	return <-done
}
