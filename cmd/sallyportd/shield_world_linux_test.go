package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// shieldWorld is a server with the shield, and its clients behind a veth pair.
//
//	this namespace                the clients'
//	srv 192.0.2.1  <---------->  cli 192.0.2.2 to .60
type shieldWorld struct {
	dir    string
	there  *netns.Host
	guests []*guest
	next   int // the last byte of the next client's address

	knocks *atomic.Uint64 // datagrams that the clients' host has sent by sockets
}

const (
	shieldHost = "192.0.2.1"
	shieldLink = "srv"
)

func newShieldWorld(t *testing.T) *shieldWorld {
	t.Helper()
	w := &shieldWorld{there: netns.NewHost(t), next: 2, knocks: new(atomic.Uint64)}
	w.connect(t)
	w.dir, w.guests = w.serverDir(t, "8080", "the port secret")
	return w
}

// connect makes the veth pair.
func (w *shieldWorld) connect(t *testing.T) {
	t.Helper()
	netns.Connect(t, netns.End{Name: shieldLink, Addresses: []string{shieldHost + "/24"}}, w.there, netns.End{Name: "cli", Addresses: clientAddresses()})
	// A queue that the interface has only because of a program loses its frames when the
	// program comes or goes.
	if err := netns.ReceiveByQueue(shieldLink); err != nil {
		t.Fatal(err)
	}
}

// newSteppedWorld is newShieldWorld with a wall clock that the test steps.
func newSteppedWorld(t *testing.T) (*shieldWorld, stepped) {
	t.Helper()
	step := newStepped(t)
	w := newShieldWorld(t)
	for _, g := range w.guests {
		g.clock = step.now
	}
	return w, step
}

func clientAddresses() (all []string) {
	for i := 2; i <= 60; i++ {
		all = append(all, fmt.Sprintf("192.0.2.%d/24", i))
	}
	return all
}

// serverDir makes the files of a server with the shield, at all addresses.
func (w *shieldWorld) serverDir(t *testing.T, port, secret string) (dir string, guests []*guest) {
	t.Helper()
	dir = t.TempDir()
	guests = makeGuestsOf(t, dir, shieldHost)
	cfg := fmt.Sprintf(`ports = 2
readers = 2
port_secret_file = "port_secret"
clients = "clients.txt"
shield = "xdp"
[[service]]
name = "web"
type = "web"
listen = ":%s"
open_for = "1s"
open_max = "1s"
`, port)
	for name, text := range map[string]string{"sallyportd.toml": cfg, "port_secret": secret + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range guests {
		g.profile.PortSecret = secret
	}
	return dir, guests
}

// address returns an address of the clients that none has used.
func (w *shieldWorld) address() string {
	w.next++
	return fmt.Sprintf("192.0.2.%d", w.next-1)
}

// knock sends a sequence from another address than before until a server has opened
// the service for it: a port may be new, and an address not yet known.
func (w *shieldWorld) knock(t *testing.T, v *victim, g *guest, to string) {
	t.Helper()
	from := w.address()
	looks := 0
	netns.Until(t, "the service opens for "+from, func() bool {
		if looks%200 == 0 {
			a := g.attempt(t)
			w.send(t, from, to, a.packets)
		}
		looks++
		return v.has(from)
	}, v.log, func() string { return fmt.Sprint(traffic(t, filepath.Dir(v.cmd.Args[len(v.cmd.Args)-1]))) })
}

func (w *shieldWorld) send(t *testing.T, from, to string, packets []client.Packet) {
	t.Helper()
	err := w.there.Do(func() error {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)})
		if err != nil {
			return err
		}
		defer c.Close()
		for _, p := range packets {
			_, err := c.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(netip.MustParseAddr(to), p.Port))
			if err != nil {
				return err
			}
			w.knocks.Add(1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// traffic returns the counters of a server.
func traffic(t *testing.T, dir string) (all map[string]uint64) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "sallyportd.sock"))
	}}}
	var r *http.Response
	// The server serves its socket just after it has logged that it serves.
	netns.Until(t, "the server answers", func() (ok bool) {
		var err error
		r, err = c.Get("http://sallyportd/traffic")
		return err == nil
	})
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// byShield knocks, and checks that the shield took the knocks, and not the sockets.
func (w *shieldWorld) byShield(t *testing.T, what string, v *victim, g *guest, to string) {
	t.Helper()
	before := traffic(t, w.dir)
	w.knock(t, v, g, to)
	after := traffic(t, w.dir)
	ring, received := after["shield_ring"]-before["shield_ring"], after["received"]-before["received"]
	if ring < 2 || received != ring || after["kernel"] != before["kernel"] {
		t.Errorf("%s: the shield took %d datagrams, the server got %d, the kernel dropped %d\n%s",
			what, ring, received, after["kernel"]-before["kernel"], v.log())
	}
}

// bySoonShield is byShield for a knock that may come before the holder has noticed a
// change of the host: then the sockets take it.
func (w *shieldWorld) bySoonShield(t *testing.T, what string, v *victim, g *guest, to string) {
	t.Helper()
	netns.Until(t, what+": the shield takes the knocks", func() bool {
		before := traffic(t, w.dir)
		w.knock(t, v, g, to)
		after := traffic(t, w.dir)
		return after["shield_ring"]-before["shield_ring"] == after["received"]-before["received"]
	}, v.log)
}

// bySockets knocks, and checks that the sockets took the knocks.
func (w *shieldWorld) bySockets(t *testing.T, what string, v *victim, dir string, g *guest) {
	t.Helper()
	before := traffic(t, dir)
	w.knock(t, v, g, shieldHost)
	after := traffic(t, dir)
	ring, received := after["shield_ring"]-before["shield_ring"], after["received"]-before["received"]
	if ring != 0 || received < 2 {
		t.Errorf("%s: the shield took %d datagrams, the server got %d\n%s", what, ring, received, v.log())
	}
}

// awaitLog waits for n lines of a process with a text.
func awaitLog(t *testing.T, v *victim, text string, n int) {
	t.Helper()
	netns.Until(t, text, func() bool { return strings.Count(v.log(), text) >= n }, v.log)
}

// shieldOn reports whether an interface has an XDP program.
func shieldOn(t *testing.T, name string) bool {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached
}

// giveTo gives all files of the server to a user.
func (w *shieldWorld) giveTo(t *testing.T, user int) {
	t.Helper()
	// The test's directory is closed to others.
	dir, err := os.MkdirTemp("", "shield-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.CopyFS(filepath.Join(dir, "gate"), os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w.dir = filepath.Join(dir, "gate")
	err = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return errors.Join(err, os.Chown(path, user, user))
	})
	if err = errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
}

// run runs a command of sallyportd.
func (w *shieldWorld) run(t *testing.T, arguments ...string) string {
	t.Helper()
	c := exec.Command("/proc/self/exe", append(arguments, "-c", filepath.Join(w.dir, "sallyportd.toml"))...)
	c.Args[0] = "sallyportd"
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", arguments, err, out)
	}
	return string(out)
}

// checks checks whether "check" prints a text.
func (w *shieldWorld) checks(t *testing.T, text string, prints bool) {
	t.Helper()
	if out := w.run(t, "check"); strings.Contains(out, text) != prints {
		t.Errorf("check prints %q: %t\n%s", text, !prints, out)
	}
}

// edit replaces a text in a file of the server.
func (w *shieldWorld) edit(t *testing.T, name, from, to string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	text, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(text), from) {
		t.Fatalf("%s does not contain %q", name, from)
	}
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// holderOf returns the process of the holder that a server has started.
func holderOf(t *testing.T, pid int) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		command, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		fields := strings.Fields(rest)
		if err == nil && fields[1] == strconv.Itoa(pid) && strings.Contains(string(command), helperName) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return child
		}
	}
	t.Fatalf("process %d has no holder", pid)
	return 0
}

// capabilities returns the effective and permitted capabilities of a process.
func capabilities(t *testing.T, pid int) (effective, permitted string) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch name {
		case "CapEff":
			effective = value
		case "CapPrm":
			permitted = value
		}
	}
	return effective, permitted
}

// bpfFiles returns how many descriptors of programs, links and arrays a process has.
func bpfFiles(t *testing.T, pid int) (count map[string]int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	count = map[string]int{}
	for _, f := range all {
		target, err := os.Readlink(filepath.Join(dir, f.Name()))
		if kind, ok := strings.CutPrefix(target, "anon_inode:bpf"); err == nil && ok {
			count[strings.Trim(kind, "-_")]++
		}
	}
	return count
}
