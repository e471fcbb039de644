package holder_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
)

// memory is a shield of one array, without a program.
type memory struct {
	array    *os.File
	attached atomic.Int32
	closed   atomic.Int32
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	fd, err := unix.MemfdCreate("settings", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{array: os.NewFile(uintptr(fd), "settings")}
	if _, err := m.array.WriteString("shared"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.array.Close() })
	return m
}

func (m *memory) Arrays() []holder.ShieldArray {
	return []holder.ShieldArray{{Name: "settings", File: m.array}, {Name: "ports", File: m.array}}
}

func (m *memory) State() holder.ShieldState {
	return holder.ShieldState{Interfaces: []holder.ShieldInterface{
		{Name: "eth0", Mode: "native"}, {Name: "eth1", Error: strings.Repeat("x", 5000)},
	}}
}

func (m *memory) Attach() error {
	m.attached.Add(1)
	return nil
}

func (m *memory) Close() error {
	m.closed.Add(1)
	return nil
}

// shielded is a configuration with a shield at one address.
func shielded(load func(holder.ShieldRequest) (holder.Shield, error)) holder.Config {
	return holder.Config{
		Policy: holder.Policy{Shield: &holder.ShieldPolicy{Listen: []netip.Addr{at1}}}, Digest: holder.Digest{1},
		Claim: holder.Unguarded, Clock: running, Shield: load,
	}
}

var at1 = netip.MustParseAddr("192.0.2.1")

// TestShieldPassesItsArrays: the server gets descriptors of the same memory, and a
// holder without a firewall opens nothing. The shield ends with the session.
func TestShieldPassesItsArrays(t *testing.T) {
	m := newMemory(t)
	requests := make(chan holder.ShieldRequest, 1)
	c, done := holdertest.Start(t, shielded(func(r holder.ShieldRequest) (holder.Shield, error) {
		requests <- r
		return m, nil
	}))
	if _, err := c.ShieldState(); !errors.Is(err, holder.ErrRefused) {
		t.Errorf("the state before a request: %v", err)
	}
	want := holder.ShieldRequest{Listen: []netip.Addr{at1}, Clients: 5}
	arrays, err := c.Shield(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-requests; !reflect.DeepEqual(got, want) || len(arrays) != 2 {
		t.Errorf("requested %+v, got %v", got, arrays)
	}
	for _, name := range []string{"settings", "ports"} {
		b := make([]byte, 6)
		if _, err := arrays[name].ReadAt(b, 0); err != nil || string(b) != "shared" {
			t.Errorf("array %s has %q, %v", name, b, err)
		}
		flags, err := unix.FcntlInt(arrays[name].Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("array %s would reach other programs: %v", name, err)
		}
		arrays[name].Close()
	}
	// Another request replaces the shield.
	again, err := c.Shield(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	<-requests
	for _, f := range again {
		f.Close()
	}
	if m.closed.Swap(0) != 1 {
		t.Error("the former shield was not closed")
	}
	state, err := c.ShieldState()
	if err != nil || len(state.Interfaces) != 2 || state.Interfaces[0] != (holder.ShieldInterface{Name: "eth0", Mode: "native"}) || state.Interfaces[1].Error == "" {
		t.Errorf("state %+v, %v", state, err)
	}
	err = one(holder.NewEnforcer(c), opens(peer("192.0.2.1"), time.Minute))
	if err == nil || !strings.Contains(err.Error(), "no service has the identifier") {
		t.Errorf("a grant without a firewall: %v", err)
	}
	if m.closed.Load() != 0 {
		t.Error("the shield was closed while the server runs")
	}
	holdertest.Stop(t, c, done)
	if m.closed.Load() != 1 {
		t.Errorf("the shield was closed %d times", m.closed.Load())
	}
}

// TestShieldIsRefused: what the policy does not allow, and what the holder cannot
// load, is an error of the request, and the session goes on.
func TestShieldIsRefused(t *testing.T) {
	m := newMemory(t)
	busy := errors.New("eth0 is busy")
	var loads atomic.Int32
	c, done := holdertest.Start(t, shielded(func(holder.ShieldRequest) (holder.Shield, error) {
		if loads.Add(1) == 1 {
			return nil, busy
		}
		return m, nil
	}))
	own := holder.ShieldRequest{Listen: []netip.Addr{at1}}
	for _, row := range []struct {
		r   holder.ShieldRequest
		why string
	}{
		{holder.ShieldRequest{}, "at all addresses"},
		{holder.ShieldRequest{Listen: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}, "at 192.0.2.2"},
		{own, busy.Error()},
	} {
		_, err := c.Shield(t.Context(), row.r)
		if !errors.Is(err, holder.ErrRefused) || !strings.Contains(err.Error(), row.why) {
			t.Errorf("%+v: %v", row.r, err)
		}
	}
	arrays, err := c.Shield(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range arrays {
		f.Close()
	}
	holdertest.Stop(t, c, done)
	for name, cfg := range map[string]holder.Config{
		"no shield":                  {Policy: oneService, Digest: holder.Digest{1}, Claim: holder.Unguarded, Clock: running},
		"started without the shield": shielded(nil),
	} {
		c, done := holdertest.Start(t, cfg)
		_, err := c.Shield(t.Context(), own)
		if !errors.Is(err, holder.ErrRefused) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		holdertest.Stop(t, c, done)
	}
}

// TestFormerShieldStays: the shield stays attached until the next one is loaded, and if that
// fails. Only one at a time is attached.
func TestFormerShieldStays(t *testing.T) {
	shields := []*memory{newMemory(t), newMemory(t)}
	attached := func(n int) bool { return shields[n].attached.Load() > shields[n].closed.Load() }
	var fails, missed atomic.Bool
	var loads atomic.Int32
	c, done := holdertest.Start(t, shielded(func(holder.ShieldRequest) (holder.Shield, error) {
		if loads.Load() > 0 && !attached(0) {
			missed.Store(true)
		}
		if fails.Load() {
			return nil, unix.ENOMEM
		}
		return shields[loads.Add(1)-1], nil
	}))
	for i, row := range []struct {
		fails bool
		last  int // the shield that is attached then
	}{{false, 0}, {true, 0}, {true, 0}, {false, 1}} {
		fails.Store(row.fails)
		arrays, err := c.Shield(t.Context(), holder.ShieldRequest{Listen: []netip.Addr{at1}})
		for _, f := range arrays {
			f.Close()
		}
		if row.fails != errors.Is(err, holder.ErrRefused) || row.fails != (err != nil) {
			t.Errorf("request %d: %v", i, err)
		}
		if _, err := c.ShieldState(); err != nil {
			t.Errorf("the state after request %d: %v", i, err)
		}
		for n := range shields {
			if got, want := attached(n), n == row.last; got != want {
				t.Errorf("after request %d, shield %d is attached: %t, want %t", i, n, got, want)
			}
		}
	}
	if missed.Load() {
		t.Error("the first shield was detached before the next one was loaded")
	}
	holdertest.Stop(t, c, done)
	for n, m := range shields {
		if m.attached.Load() != 1 || m.closed.Load() != 1 {
			t.Errorf("shield %d was attached %d times, and closed %d times", n, m.attached.Load(), m.closed.Load())
		}
	}
}

// firewallBeside notes whether the shield is closed before it.
type firewallBeside struct {
	fakeFirewall
	shield *memory
	later  bool
}

func (f *firewallBeside) Close() error {
	f.later = f.shield.closed.Load() > 0
	return f.fakeFirewall.Close()
}

// TestShieldLoadsAside: while the shield is loaded, the holder executes requests; and a
// server that ends meanwhile leaves none behind. The firewall closes before that.
func TestShieldLoadsAside(t *testing.T) {
	m := newMemory(t)
	proceed := make(chan struct{})
	cfg := shielded(func(holder.ShieldRequest) (holder.Shield, error) {
		<-proceed
		return m, nil
	})
	f := firewallBeside{shield: m}
	cfg.Policy.Services, cfg.Claim = oneService.Services, holder.Claimed(&f)
	c, done := holdertest.Start(t, cfg)
	ctx, stop := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := c.Shield(ctx, holder.ShieldRequest{Listen: []netip.Addr{at1}})
		asked <- err
	}()
	netns.Until(t, "the shield is being loaded", func() bool {
		_, err := c.ShieldState()
		return errors.Is(err, holder.ErrRefused)
	})
	if err := one(holder.NewEnforcer(c), opens(peer("192.0.2.1"), time.Minute)); err != nil {
		t.Errorf("a grant meanwhile: %v", err)
	}
	stop()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("a request that is given up: %v", err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		close(proceed)
	}()
	c.Kill()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if m.closed.Load() != 1 || f.closed != 1 || f.later {
		t.Errorf("the shield was closed %d times, and the firewall %d times, after the shield: %t", m.closed.Load(), f.closed, f.later)
	}
}

// TestRunWithoutABegunHolder: Run connects to a holder that comes later than the
// server, and to the next one after a child of the server.
func TestRunWithoutABegunHolder(t *testing.T) {
	path := t.TempDir() + "/holder.sock"
	cfg := configOf(&shared{}, 1)
	c := holder.NewDialingConn(holder.Dialer(path), running)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Begin(ctx, cfg.Digest); err == nil {
		t.Fatal("began without a holder")
	}
	child, done := holdertest.Start(t, cfg)
	child.DialNext(holder.Dialer(path))
	for name, c := range map[string]*holder.Conn{"no holder": c, "a child": child} {
		ctx, stop := context.WithCancel(t.Context())
		found, ended := make(chan struct{}, 1), make(chan error, 1)
		lost := 0
		go func() {
			ended <- c.Run(ctx, holder.Events{Lost: func(error) { lost++ }, Tried: func(error) {}, Found: func() { found <- struct{}{} }})
		}()
		if c == child {
			c.Kill()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		_, end := hold(t, path, cfg)
		<-found
		if want := map[bool]int{true: 1}[c == child]; lost != want || !c.Held() {
			t.Errorf("%s: lost %d times, held %t", name, lost, c.Held())
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		end()
	}
}

// TestUnguarded: without a firewall every change is refused, and closing is done.
func TestUnguarded(t *testing.T) {
	f, err := holder.Unguarded()
	if err != nil {
		t.Fatal(err)
	}
	change := opens(peer("192.0.2.1"), time.Minute)
	for i, err := range append(f.Apply([]access.Change{change}), f.OpenKnockPorts([]uint16{1}, 1), f.SetTrusted(nil), f.SetSilence(nil), f.Disconnect(nil)) {
		if err == nil {
			t.Errorf("change %d was accepted", i)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
