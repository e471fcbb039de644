package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// reloadable is a server with two web services, and the files that it reads.
type reloadable struct {
	*Server
	dir    string
	helped bool // the firewall stands before the services, and there are operations
	sent   uint32
}

// version is one of two configurations: all that a reload may change differs.
type version struct {
	name, secret, portSecret string
	ports                    int
	keys, web, helped        string
	clients                  string
}

var (
	old = version{
		name: "old", secret: "the-old-secret-of-a-client", portSecret: "the old port secret", ports: 3,
		keys: "clock_tolerance = \"30s\"", web: "open_to = \"knocker\"\nopen_for = \"10m\"\nopen_max = \"10m\"", helped: "open_for = \"10m\"\nopen_max = \"30m\"",
		clients: "left the-old-secret-of-a-client 0\nstay the-old-secret-of-a-client 0 services=web\n",
	}
	next = version{
		name: "new", secret: "the-new-secret-of-a-client", portSecret: "the new port secret", ports: 4,
		keys: "clock_tolerance = \"60s\"", web: "open_to = \"anyone\"\nopen_for = \"20m\"\nopen_max = \"20m\"", helped: "open_for = \"20m\"\nopen_max = \"30m\"",
		clients: "stay the-new-secret-of-a-client 0 services=two\nnew1 the-new-secret-of-a-client 0\n",
	}
)

func (r *reloadable) write(t *testing.T, v version) {
	t.Helper()
	terms := v.web
	if r.helped {
		terms = v.helped
	}
	text := fmt.Sprintf("ports = %d\nport_secret = %q\nkernel_filter = false\nlisten = [\"127.0.0.1\"]\nclients = \"clients.txt\"\n%s\n", v.ports, v.portSecret, v.keys)
	if r.helped {
		text += "stealth = true\n"
	}
	for i, name := range []string{"web", "two"} {
		text += fmt.Sprintf("[[service]]\nname = %q\ntype = \"web\"\nlisten = \"127.0.0.1:%d\"\nroot = %q\n%s\n", name, 8080+i, v.name, terms)
	}
	if r.helped {
		text += fmt.Sprintf("[challenge]\n[[operation]]\nid = \"web-%s-op\"\nsecret = %q\nservice = \"web\"\n", v.name, v.secret)
	}
	if err := os.MkdirAll(filepath.Join(r.dir, v.name), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{config.FileName: text, config.ClientsName: v.clients, v.name + "/page": v.name} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func startReloadable(t *testing.T, helped bool) *reloadable {
	t.Helper()
	return startReloadableIn(t, helped, Env{Clock: system, Log: slog.New(slog.DiscardHandler)})
}

// startReloadableIn starts a server with a clock and a log of the test's.
func startReloadableIn(t *testing.T, helped bool, env Env) *reloadable {
	t.Helper()
	return startVersion(t, helped, old, env)
}

func startVersion(t *testing.T, helped bool, v version, env Env) *reloadable {
	t.Helper()
	r := &reloadable{dir: t.TempDir(), helped: helped}
	r.write(t, v)
	path := filepath.Join(r.dir, config.FileName)
	cfg, err := config.Load(path, config.All)
	if err != nil {
		t.Fatal(err)
	}
	list, err := clients.Load(cfg.ClientsPath, cfg.SecretFiles, cfg.ServiceNames())
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Create(cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	var h *holder.Conn
	if helped {
		h, _ = inProcessHelper(t, cfg)
	}
	env.Host = config.Host{FilterTCP: true}
	if r.Server, err = New(t.Context(), cfg, list, h, env); err != nil {
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

// inForce checks that one version is, whole, and nothing of the other.
func (r *reloadable) inForce(t *testing.T, v, other version) {
	t.Helper()
	isOld := v.name == old.name
	for id, want := range map[string]bool{"left": isOld, "stay": true, "new1": !isOld} {
		if got := r.opens(t, id, v.secret, v.portSecret, v.ports); got != want {
			t.Errorf("client %s is let in: %t, want %t", id, got, want)
		}
	}
	may := map[bool]string{true: "web", false: "two"}[isOld]
	for id, services := range map[string][]string{"stay": {may}, "left": {"web", "two"}} {
		if got := r.gate.Names(wire.Identifier([]byte(id))); !slices.Equal(got, services) {
			t.Errorf("client %s may open %v, want %v", id, got, services)
		}
	}
	if current := r.reloads.current; current.Ports != v.ports {
		t.Errorf("%d ports", current.Ports)
	}
	// The services, and the addresses that they serve.
	for from, in := range map[string]bool{"127.0.0.1": true, "127.0.0.2": !isOld && !r.helped} {
		body, err := r.page(from)
		if in && errors.Is(err, syscall.ECONNREFUSED) {
			// A grant is counted before the gate has opened.
			netns.Until(t, "the gate to open", func() bool {
				body, err = r.page(from)
				return err == nil
			})
		}
		if in && body != v.name || !in && err == nil {
			t.Errorf("%s gets %q, %v; let in: %t", from, body, err, in)
		}
	}
	if r.helped {
		ids := slices.Collect(maps.Keys(r.challenge.operations.Load().byID))
		if !slices.Equal(ids, []string{"web-" + v.name + "-op"}) {
			t.Errorf("operations %v", ids)
		}
	}
	// The ports of the other version are closed, but for those that both have.
	live := map[uint16]bool{}
	now := time.Now()
	for _, minute := range schedule.Live(now, time.Minute+time.Second) {
		for _, port := range draw(t, v.portSecret, minute, v.ports) {
			live[port] = true
		}
	}
	for _, port := range draw(t, other.portSecret, schedule.MinuteOf(now), other.ports) {
		c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		} else if !live[port] {
			t.Errorf("port %d of the other configuration is open: %v", port, err)
		}
	}
}

// page fetches the page of the service that every client of these tests has open
// by now, from an address. A stranger gets no answer.
func (r *reloadable) page(from string) (string, error) {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	if from != "127.0.0.1" {
		d.Timeout = 300 * time.Millisecond
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}}
	resp, err := c.Get("http://127.0.0.1:8080/page")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func draw(t *testing.T, secret string, m schedule.Minute, n int) []uint16 {
	t.Helper()
	ports, err := schedule.Ports(schedule.Algorithm1, secret, m, n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// TestReloadFailsBeforeItChanges injects a failure before and after every step of
// a reload: the old configuration is in force everywhere, and a reload without one
// succeeds. With the firewall and operations, and without.
func TestReloadFailsBeforeItChanges(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, helped := range []bool{false, true} {
		t.Run(fmt.Sprintf("helped=%t", helped), func(t *testing.T) {
			r := startReloadable(t, helped)
			steps := r.steps
			failure := errors.New("injected")
			r.inForce(t, old, next)
			r.write(t, next)
			for i := range len(steps) + 1 {
				r.steps = slices.Insert(slices.Clone(steps), i, step{"injected", func(context.Context, *change) error { return failure }})
				if _, err := r.Reload(t.Context()); !errors.Is(err, failure) {
					t.Fatalf("failure %d: got %v", i, err)
				}
				r.inForce(t, old, next)
			}
			r.steps = steps
			if n, err := r.awaitClients(r.Reload)(t.Context()); err != nil || n.Clients != 2 {
				t.Fatalf("%+v, %v", n, err)
			}
			r.inForce(t, next, old)
			if terms := r.reloads.current.Services[0].Policy; terms.OpenFor != 20*time.Minute {
				t.Errorf("terms %+v", terms)
			}
		})
	}
}

// TestReloadRefusesWhatIsWrong: each file that a reload reads, with what is wrong
// in it, leaves everything as it was.
func TestReloadRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	r := startReloadable(t, false)
	cert, key := certificateFiles(t, r.dir) // without a certificate, there is another error
	for name, row := range map[string]struct {
		change func(*version)
		want   string
	}{
		"no configuration":  {func(v *version) { v.ports = 0 }, "ports: expected"},
		"a restart":         {func(v *version) { v.keys += "\nreaders = 2" }, "readers has changed"},
		"clients twice":     {func(v *version) { v.clients += v.clients }, "expected each identifier once"},
		"a service unknown": {func(v *version) { v.clients = "stay x 0 services=three\n" }, `service "three" is not configured`},
		"TLS that comes":    {func(v *version) { v.web += fmt.Sprintf("\ntls_cert = %q\ntls_key = %q", cert, key) }, "the use of TLS of service web has changed"},
	} {
		v := next
		row.change(&v)
		r.write(t, v)
		if _, err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	r.write(t, next)
	if err := os.RemoveAll(filepath.Join(r.dir, next.name)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "root: expected") {
		t.Errorf("no directory: got %v", err)
	}
	r.inForce(t, old, next)
}
