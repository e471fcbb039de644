package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// reloadable is a server with two web services, and the files that it reads.
type reloadable struct {
	*Server
	dir  string
	sent uint32
}

// The configurations of these tests: everything that a reload may change differs.
const (
	oldKeys = "ports = 3\nkernel_filter = false\nport_secret = \"the old port secret\"\nclock_tolerance = \"30s\"\n"
	newKeys = "ports = 4\nkernel_filter = false\nport_secret = \"the new port secret\"\nclock_tolerance = \"60s\"\n"
	oldWeb  = "open_to = \"knocker\"\nopen_for = \"10m\"\nopen_max = \"10m\"\n"
	newWeb  = "open_to = \"anyone\"\nopen_for = \"20m\"\nopen_max = \"20m\"\n"

	oldClients = "left " + oldSecret + " 0\nstay " + oldSecret + " 0 services=web\n"
	newClients = "stay " + newSecret + " 0 services=two\nnew1 " + newSecret + " 0\n"
	oldSecret  = "the-old-secret-of-a-client"
	newSecret  = "the-new-secret-of-a-client"
)

func (r *reloadable) write(t *testing.T, keys, web, list string) {
	t.Helper()
	service := func(name string, port int) string {
		return fmt.Sprintf("[[service]]\nname = %q\ntype = \"web\"\nlisten = \"127.0.0.1:%d\"\n%s", name, port, web)
	}
	text := keys + "listen = [\"127.0.0.1\"]\nclients = \"clients.txt\"\n" + service("web", 8080) + service("two", 8081)
	for name, text := range map[string]string{config.FileName: text, config.ClientsName: list} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func startReloadable(t *testing.T) *reloadable {
	t.Helper()
	r := &reloadable{dir: t.TempDir()}
	r.write(t, oldKeys, oldWeb, oldClients)
	path := filepath.Join(r.dir, config.FileName)
	cfg, err := config.Load(path, config.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	list, err := clients.Load(cfg.ClientsPath, cfg.ServiceNames())
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Create(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	if r.Server, err = New(t.Context(), cfg, list, nil, Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	<-r.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// opens sends a whole sequence and returns whether it was let in.
func (r *reloadable) opens(t *testing.T, id, secret, portSecret string, n int) bool {
	t.Helper()
	r.sent += uint32(n)
	p := client.Profile{Server: "127.0.0.1", PortSecret: portSecret, Ports: n, Identifier: wire.Identifier([]byte(id)), Secret: []byte(secret)}
	packets, err := client.Sequence(p, time.Now(), r.sent)
	if err != nil {
		t.Fatal(err)
	}
	before := r.seen()
	opened := r.Sessions()[sessions.Opened]
	for _, packet := range packets {
		sendTo(t, packet)
	}
	// Each datagram is decided on before the next question is asked.
	netns.Until(t, "the datagrams to be decided on", func() bool { return r.seen() >= before+uint64(n) })
	return r.Sessions()[sessions.Opened] > opened
}

// seen is how many datagrams have met their end: refused, or decided on.
func (r *reloadable) seen() (n uint64) {
	for reason, count := range r.ingest.Stats().Reasons {
		if verify.Reason(reason) != verify.Authentic {
			n += count
		}
	}
	for outcome, count := range r.Sessions() {
		if sessions.Outcome(outcome) != sessions.Failed { // which counts as opened, too
			n += count
		}
	}
	return n
}

// sendTo sends a datagram over the loopback.
func sendTo(t *testing.T, p client.Packet) {
	t.Helper()
	c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.Port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(p.Datagram); err != nil {
		t.Fatal(err)
	}
}

// inForce checks that it is the old configuration, whole, or the new one.
func (r *reloadable) inForce(t *testing.T, old bool) {
	t.Helper()
	secret, portSecret, n := newSecret, "the new port secret", 4
	if old {
		secret, portSecret, n = oldSecret, "the old port secret", 3
	}
	for id, want := range map[string]bool{"left": old, "stay": true, "new1": !old} {
		if got := r.opens(t, id, secret, portSecret, n); got != want {
			t.Errorf("client %s is let in: %t, want %t", id, got, want)
		}
	}
	for id, services := range map[string][]string{"stay": {map[bool]string{true: "web", false: "two"}[old]}, "left": {"web", "two"}} {
		if got := r.gate.Names(wire.Identifier([]byte(id))); !slices.Equal(got, services) {
			t.Errorf("client %s may open %v, want %v", id, got, services)
		}
	}
	current := r.reloads.current
	if (current.Tolerance == 30*time.Second) != old || (current.Ports == 3) != old {
		t.Errorf("tolerance %s, %d ports", current.Tolerance, current.Ports)
	}
	// The ports of the other configuration are closed, but for those that both
	// have.
	other, m := "the old port secret", 3
	if old {
		other, m = "the new port secret", 4
	}
	live := map[uint16]bool{}
	now := time.Now()
	for _, minute := range schedule.Live(now, time.Minute+time.Second) {
		for _, port := range draw(t, portSecret, minute, n) {
			live[port] = true
		}
	}
	for _, port := range draw(t, other, schedule.MinuteOf(now), m) {
		c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		} else if !live[port] {
			t.Errorf("port %d of the other configuration is open: %v", port, err)
		}
	}
}

func draw(t *testing.T, secret string, m schedule.Minute, n int) []uint16 {
	t.Helper()
	ports, err := schedule.Ports(schedule.Algorithm1, secret, m, n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// TestReloadFailsBeforeItChanges injects a failure at every step of a reload: the
// old configuration is in force everywhere, and a reload without one succeeds.
func TestReloadFailsBeforeItChanges(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	r := startReloadable(t)
	steps := r.steps
	failure := errors.New("injected")
	r.write(t, newKeys, newWeb, newClients)
	for i := range len(steps) + 1 {
		r.steps = slices.Insert(slices.Clone(steps), i, step{"injected", func(context.Context, *change) error { return failure }})
		if _, err := r.change(t.Context(), "configuration", func(current *config.Config) (*config.Config, clients.List, error) {
			next, err := config.Load(current.Path, config.All)
			if err != nil {
				return nil, nil, err
			}
			list, err := clients.Load(next.ClientsPath, next.ServiceNames())
			return next, list, err
		}); !errors.Is(err, failure) {
			t.Fatalf("failure %d: got %v", i, err)
		}
		r.inForce(t, true)
	}
	r.steps = steps
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.inForce(t, false)
	if terms := r.reloads.current.Services[0].Terms; !terms.Anyone || terms.OpenFor != 20*time.Minute {
		t.Errorf("terms %+v", terms)
	}
}

// TestReloadRefusesWhatIsWrong: each file that a reload reads, with what is wrong
// in it, leaves everything as it was.
func TestReloadRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	r := startReloadable(t)
	for name, row := range map[string]struct{ keys, web, list, want string }{
		"no configuration":  {strings.Replace(newKeys, "ports = 4", "ports = 0", 1), newWeb, newClients, "ports: expected"},
		"a restart":         {newKeys + "readers = 2\n", newWeb, newClients, "readers has changed"},
		"clients twice":     {newKeys, newWeb, newClients + newClients, "already"},
		"a service unknown": {newKeys, newWeb, "stay x 0 services=three\n", `service "three" is not configured`},
		"no directory":      {newKeys, newWeb + "root = \"nowhere\"\n", newClients, "root: expected"},
		"no certificate":    {newKeys, newWeb + "tls_cert = \"none\"\ntls_key = \"none\"\n", newClients, "certificate"},
	} {
		r.write(t, row.keys, row.web, row.list)
		if _, err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	r.inForce(t, true)
}
