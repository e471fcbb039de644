package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
	"sallyport/verify/schedule"
)

// drawn returns the ports at which the service of a profile may be, in a minute.
func (n *network) drawn(name string, m schedule.Minute) []uint16 {
	n.t.Helper()
	p, err := profile.Load(n.path(name + ".toml"))
	if err != nil {
		n.t.Fatal(err)
	}
	ports, err := p.Candidates(m)
	if err != nil {
		n.t.Fatal(err)
	}
	return ports
}

// early waits until a minute has some time left for a test, and returns it.
func early(left time.Duration) schedule.Minute {
	now := time.Now()
	if next := (schedule.MinuteOf(now) + 1).Start(); next.Sub(now) < left {
		time.Sleep(next.Sub(now) + 10*time.Millisecond)
	}
	return schedule.MinuteOf(time.Now())
}

// isDrawn reports whether a port is the first candidate of a minute since a time, or of
// the one before, to which a client may go, too.
func (n *network) isDrawn(name string, port uint16, since time.Time) bool {
	n.t.Helper()
	for m := schedule.MinuteOf(since) - 1; m <= schedule.MinuteOf(time.Now()); m++ {
		if n.drawn(name, m)[0] == port {
			return true
		}
	}
	return false
}

// remotePort is the port in the output of curl -w.
var remotePort = regexp.MustCompile(`\d+$`)

var servicePort = regexp.MustCompile(`"service":"[^"]*:(\d+)(/udp)?"`)

// knockDrawn makes the client knock, and wait for the service of its profile if that is
// a TCP service. It returns the port of the service: a minute may end meanwhile.
func (n *network) knockDrawn(name string) uint16 {
	n.t.Helper()
	begun := time.Now()
	out, err := n.tryKnock(name, "--json")
	if err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	match := servicePort.FindStringSubmatch(out)
	if match == nil {
		n.t.Fatalf("no port in %s", out)
	}
	port, err := strconv.ParseUint(match[1], 10, 16)
	if err != nil || !n.isDrawn(name, uint16(port), begun) {
		n.t.Fatalf("no first candidate: port %d (%v)", port, err)
	}
	return uint16(port)
}

// foreign is another program of the server's host that has a port.
func foreign(t *testing.T, port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "another program\n")
			c.Close()
		}
	}()
}

// foreigners are other programs that have the first candidates of minutes.
func (n *network) foreigners(t *testing.T, name string, candidates int, minutes ...schedule.Minute) {
	t.Helper()
	have := map[uint16]bool{} // two minutes may have a candidate in common
	for _, m := range minutes {
		for _, port := range n.drawn(name, m)[:candidates] {
			if !have[port] {
				have[port] = true
				foreign(t, port)
			}
		}
	}
}

func at(host string, port uint16) string { return fmt.Sprintf("%s:%d", host, port) }

// TestRotatingServices: a web server, and proxies of TCP and UDP, each at a port that
// the minute draws.
func TestRotatingServices(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("127.0.0.1:7000")
	// No service has a port of another one.
	rotating := func(name, kind, ports, keys string) string {
		return fmt.Sprintf("[[service]]\nname = %q\ntype = %q\nlisten = \":0\"\nport = \"rotate\"\nrotate_ports = %q\nopen_for = \"1h\"\nopen_max = \"1h\"\n%s", name, kind, ports, keys)
	}
	n.configure(rotating("web", "web", "10000-15999", "")+
		rotating("tcp", "proxy", "16000-21999", "upstream = \""+echoEOF(t)+"\"\n")+
		rotating("udp", "proxy", "22000-27999", "protocol = \"udp\"\nupstream = \"127.0.0.1:7000\"\n"),
		"web=web", "web2=web", "tcp=tcp", "tcp2=tcp", "udp=udp")
	n.serve()
	sallyport := n.path("sallyport")

	t.Run("web", func(t *testing.T) {
		begun := time.Now()
		var port uint16
		// The second connection finds the port of the first one's lease open.
		for i := range 2 {
			out := n.run(n.client, sallyport, "run", n.path("web.toml"), "--", "curl", "-s", "http://{host}:{port}/test1.html", "-w", " remote=%{remote_port}")
			now, err := strconv.ParseUint(remotePort.FindString(out), 10, 16)
			if err != nil || !strings.Contains(out, "<html") || !n.isDrawn("web", uint16(now), begun) {
				t.Fatalf("connection %d: %s", i, out)
			}
			m := schedule.MinuteOf(begun)
			if i == 1 && port == n.drawn("web", m)[0] && uint16(now) != port && schedule.MinuteOf(time.Now()) == m {
				t.Errorf("connections of one minute have the ports %d and %d", port, now)
			}
			port = uint16(now)
		}
		if n.reaches(n.stranger, at(asStranger, port)) {
			t.Error("a stranger reaches the service")
		}
		var ports minutePorts
		printed := n.run(nil, sallyport, "ports", n.path("web.toml"), "--json")
		err := json.Unmarshal([]byte(printed), &ports)
		if err != nil || len(ports.ServicePorts) != schedule.Candidates {
			t.Errorf("%s: %v", printed, err)
		}
		// A client that knocked in the minute before has that minute's port, and keeps it.
		var before uint16
		n.await("the port of the minute before", func() bool {
			// On a busy machine, the minute may be over when the knocks come.
			m := schedule.MinuteOf(time.Now())
			before = n.drawn("web", m-1)[0]
			n.knockIn(t, "web", m-1)
			for schedule.MinuteOf(time.Now()) == m {
				if n.reaches(n.client, at(asClient, before)) {
					return true
				}
				time.Sleep(20 * time.Millisecond)
			}
			return false
		})
		n.opens(n.client, at(asClient, port))
		if !strings.Contains(n.run(nil, n.path("sallyportd"), "lease", "list", "-c", n.path("gate/sallyportd.toml")), fmt.Sprint(before)) {
			t.Error("the list of leases does not have the port")
		}
	})

	t.Run("proxy", func(t *testing.T) {
		// Other programs have the first candidate, and listen.
		m := schedule.MinuteOf(time.Now())
		n.foreigners(t, "tcp", 1, m, m+1)
		send := func(profile string) (string, error) {
			return n.try(n.client, "sh", "-c", fmt.Sprintf("echo hello | %s connect %s", sallyport, n.path(profile+".toml")))
		}
		if out, err := send("tcp"); err != nil || out != "hello\n" {
			t.Errorf("%q (%v)", out, err)
		}
		n.await("the line about the port", func() bool { return n.logged("drawn port in use by another program") > 0 })
		// Another device of the same address finds that port open, and uses the minute
		// before, whose port is closed.
		if out, err := send("tcp2"); err != nil || out != "hello\n" {
			t.Errorf("another device: %q (%v)", out, err)
		}
	})

	t.Run("udp", func(t *testing.T) {
		port := n.knockDrawn("udp")
		n.opensUDP(n.client, at(asClient, port))
		if n.echoes(n.stranger, at(asStranger, port)) {
			t.Error("a stranger reaches the service")
		}
		n.run(nil, n.path("sallyportd"), "reload", "-c", n.path("gate/sallyportd.toml"))
		n.opensUDP(n.client, at(asClient, port))
	})

	t.Run("all ports are taken", func(t *testing.T) {
		port := n.knockDrawn("web")
		n.server.Process.Kill()
		n.server.Wait()
		if n.reaches(n.client, at(asClient, port)) {
			t.Error("open without a server")
		}
		m := schedule.MinuteOf(time.Now())
		n.foreigners(t, "web", schedule.Candidates, m-1, m, m+1)
		n.serve()
		out, err := n.try(n.client, sallyport, "knock", n.path("web2.toml"), "--attempts", "1", "--timeout", "2s", "--no-wait")
		if err == nil || !strings.Contains(out, "accepted connections before the knock") {
			t.Errorf("took another program for the service: %v, %s", err, out)
		}
		n.await("the log of the failure", func() bool { return strings.Contains(n.log(), "none of the 4 ports of the minute can be opened") })
	})

	t.Run("rolled port secret", func(t *testing.T) {
		n.run(nil, n.path("sallyportd"), "port-secret", "roll", "-c", n.path("gate/sallyportd.toml"), "--for", "24h")
		p, err := profile.Load(n.path("web.toml"))
		if err != nil {
			t.Fatal(err)
		}
		n.run(nil, n.path("sallyportd"), "client", "profile", p.Identifier.String(), "-c", n.path("gate/sallyportd.toml"), "--out", n.path("new.toml"))
		for _, name := range []string{"web", "new"} {
			n.opens(n.client, at(asClient, n.knockDrawn(name)))
		}
		if m := schedule.MinuteOf(time.Now()); n.drawn("web", m)[0] == n.drawn("new", m)[0] {
			t.Error("both port secrets draw the same port")
		}
	})
}

// knockIn sends a sequence to the ports of a minute, from the client's host.
func (n *network) knockIn(t *testing.T, name string, m schedule.Minute) {
	t.Helper()
	p, err := profile.Load(n.path(name + ".toml"))
	if err != nil {
		t.Fatal(err)
	}
	stamp := (m + 1).Start().Add(-time.Second)
	err = n.client.Do(func() error {
		// The nonces of the device, which the server has not seen.
		files, err := filepath.Glob(n.path("client-state/sallyport/" + p.Identifier.String() + "-*.nonce"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("nonce files %v: %w", files, err)
		}
		_, err = client.Knock(context.Background(), client.Config{
			Profile: p, Nonces: client.NonceFile{Path: files[0]}, Attempts: 1, Watch: client.WatchNone, Now: func() time.Time { return stamp },
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRotatingBehindTheFirewall: the firewall leads from a drawn port to the port of
// another program, and a stranger's scans show the same before and during a lease, at
// drawn ports and at those beside them.
func TestRotatingBehindTheFirewall(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo(":7000")
	n.configure("stealth = true\n[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":0\"\nport = \"rotate\"\nrotate_ports = \"10000-15999\"\nopen_for = \"1h\"\nopen_max = \"1h\"\n"+
		"[[service]]\nname = \"echo\"\ntype = \"firewall\"\nlisten = \":7000\"\nport = \"rotate\"\nrotate_ports = \"16000-21999\"\nopen_for = \"1h\"\nopen_max = \"1h\"\n",
		"web=web", "echo=echo")
	n.serve()
	ports := []int{7000}
	m := early(20 * time.Second) // the knocks are in this minute, or in the next one
	for _, minute := range []schedule.Minute{m, m + 1} {
		for _, name := range []string{"web", "echo"} {
			port := int(n.drawn(name, minute)[0])
			ports = append(ports, port, port+1)
		}
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	before := n.scan(ports, nil)
	web, echo := n.knockDrawn("web"), n.knockDrawn("echo")
	if !slices.Contains(ports, int(web)) || !slices.Contains(ports, int(echo)) {
		t.Fatalf("ports %d and %d are not among the scanned ones, %d", web, echo, ports)
	}
	n.opens(n.client, at(asClient, web))
	n.opens(n.client, at(asClient, echo))
	if n.reaches(n.client, at(asClient, 7000)) || n.reaches(n.stranger, at(asStranger, echo)) || n.reaches(n.stranger, at(asStranger, web)) {
		t.Error("a port is open that no lease opens")
	}
	if during := n.scanAs(before, ports, nil); during != before {
		t.Errorf("a stranger sees a difference:\n%s\nduring a lease:\n%s", before, during)
	}
	n.run(nil, n.path("sallyportd"), "lease", "close", "--all", "--cut", "-c", n.path("gate/sallyportd.toml"))
	if n.reaches(n.client, at(asClient, echo)) || n.reaches(n.client, at(asClient, web)) {
		t.Error("open after the end of the leases")
	}
}
