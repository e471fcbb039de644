package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// network has the hosts of a server, a client and a stranger:
//
//	client 198.51.100.2 --- 198.51.100.1 server 203.0.113.1 --- 203.0.113.2 stranger
//
// and IPv6 on the same links (2001:db8::/64 and 2001:db8:1::/64).
type network struct {
	t                *testing.T
	client, stranger *netns.Host
	dir              string
	server           *exec.Cmd
	prepare          func(*exec.Cmd) // before a server starts; nil: nothing
}

const (
	asClient   = "198.51.100.1" // the server's address for the client
	asStranger = "203.0.113.1"  // and for the stranger
)

// newNetwork makes the network. The test itself is the server's host. After
// enterPrivileged it is the host's root, otherwise root in a user namespace.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, client: netns.NewHost(t), stranger: netns.NewHost(t), dir: t.TempDir()}
	netns.Connect(t, netns.End{Name: "toclient", Addresses: []string{asClient + "/24", "2001:db8::1/64"}}, n.client,
		netns.End{Name: "client", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "2001:db8::2/64"}})
	netns.Connect(t, netns.End{Name: "tostranger", Addresses: []string{asStranger + "/24", "2001:db8:1::1/64"}}, n.stranger,
		netns.End{Name: "stranger", Addresses: []string{"203.0.113.2/24", "2001:db8:1::2/64"}})
	// The kernel limits how many ICMP errors it sends: a scan would wait.
	if err := os.WriteFile("/proc/sys/net/ipv4/icmp_ratelimit", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	for name, program := range map[string]string{"sallyport": "client/sallyport", "sallyportd": "server/sallyportd"} {
		if err := os.Symlink(filepath.Join(os.Getenv(programs), program), n.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *network) path(name string) string { return filepath.Join(n.dir, name) }

// run runs a command on a host (nil: the server's), and returns its output.
func (n *network) run(on *netns.Host, name string, args ...string) string {
	n.t.Helper()
	out, err := n.try(on, name, args...)
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s\nserver: %s", name, strings.Join(args, " "), err, out, n.log())
	}
	return out
}

func (n *network) try(on *netns.Host, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(n.t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := cmd.Start
	if on != nil {
		start = func() error { return on.Do(cmd.Start) }
	}
	if err := start(); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// endWithServer is the key of a configuration with which no lease outlives a stop, for tests
// that begin again with everything closed.
const endWithServer = "resume_leases = false\n"

// configure creates the files of a server with these keys, and a client for each
// name. NAME=SERVICE,SERVICE restricts the client.
func (n *network) configure(text string, clients ...string) {
	n.t.Helper()
	n.run(nil, n.path("sallyportd"), "init", n.path("gate"), "--server", asClient)
	config := fmt.Sprintf("version = 1\nports = 3\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\nserver = %q\n%s", asClient, text)
	if err := os.WriteFile(n.path("gate/sallyportd.toml"), []byte(config), 0o600); err != nil {
		n.t.Fatal(err)
	}
	for _, c := range clients {
		name, services, restricted := strings.Cut(c, "=")
		args := []string{"client", "add", "-c", n.path("gate/sallyportd.toml"), "--out", n.path(name + ".toml")}
		if restricted {
			args = append(args, "--services", services)
		}
		n.run(nil, n.path("sallyportd"), args...)
	}
}

// serve starts the server, with a command in front of it if there is one, and waits
// until it serves.
func (n *network) serve(by ...string) {
	n.t.Helper()
	log, err := os.OpenFile(n.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	before := strings.Count(n.log(), "msg=serving")
	words := append(by, n.path("sallyportd"), "serve", "-c", n.path("gate/sallyportd.toml"))
	n.server = exec.Command(words[0], words[1:]...)
	n.server.Stderr = log
	if n.prepare != nil {
		n.prepare(n.server)
	}
	if err := n.server.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { n.stop() })
	n.await("the server", func() bool { return strings.Count(n.log(), "msg=serving") > before })
}

// stop stops the server in order.
func (n *network) stop() error {
	if n.server == nil {
		return nil
	}
	n.server.Process.Signal(os.Interrupt)
	err := n.server.Wait()
	n.server = nil
	return err
}

func (n *network) log() string {
	text, _ := os.ReadFile(n.path("log"))
	return string(text)
}

// settled returns the log when no line of it waits: the server writes one in each 1.1 seconds
// at least while lines wait.
func (n *network) settled() string {
	log := n.log()
	for quiet := time.Now(); time.Since(quiet) < 1500*time.Millisecond; time.Sleep(50 * time.Millisecond) {
		if now := n.log(); len(now) != len(log) {
			log, quiet = now, time.Now()
		}
	}
	return log
}

// counted returns how often the settled log has a text.
func (n *network) counted(text string) int { return strings.Count(n.settled(), text) }

func (n *network) await(what string, ok func() bool) {
	n.t.Helper()
	netns.Until(n.t, what, ok, func() string { return "server: " + n.log() })
}
