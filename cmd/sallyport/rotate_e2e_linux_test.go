package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
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
	rotating := func(name, kind, keys string) string {
		return fmt.Sprintf("[[service]]\nname = %q\ntype = %q\nlisten = \":0\"\nport = \"rotate\"\nopen_for = \"2m\"\nopen_max = \"10m\"\n%s", name, kind, keys)
	}
	n.configure(rotating("web", "web", "")+
		rotating("tcp", "proxy", "upstream = \""+echoEOF(t)+"\"\n")+
		rotating("udp", "proxy", "protocol = \"udp\"\nupstream = \"127.0.0.1:7000\"\n"),
		"web=web", "web2=web", "tcp=tcp", "tcp2=tcp", "udp=udp")
	n.serve()
	sallyport := n.path("sallyport")

	t.Run("web", func(t *testing.T) {
		m := early(10 * time.Second)
		port := n.drawn("web", m)[0]
		// The second connection finds the port of the first one's lease open.
		for i := range 2 {
			begun := time.Now()
			out := n.run(n.client, sallyport, "run", n.path("web.toml"), "--", "curl", "-s", "http://{host}:{port}/test1.html", "-w", "port %{remote_port}")
			if !strings.Contains(out, "<html") || !strings.Contains(out, fmt.Sprintf("port %d", port)) {
				t.Errorf("connection %d: %s", i, out)
			}
			if took := time.Since(begun); i == 1 && took > 10*time.Second {
				t.Errorf("the second connection took %s", took)
			}
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
		before := n.drawn("web", m-1)[0]
		n.knockIn(t, "web", m-1)
		n.opens(n.client, at(asClient, before))
		n.opens(n.client, at(asClient, port))
		if !strings.Contains(n.run(nil, n.path("sallyportd"), "lease", "list", "-c", n.path("gate/sallyportd.toml")), fmt.Sprint(before)) {
			t.Error("the list of leases does not have the port")
		}
	})

	t.Run("proxy", func(t *testing.T) {
		m := early(15 * time.Second)
		// Other programs have the first candidate, and listen.
		foreign(t, n.drawn("tcp", m)[0])
		send := func(profile string) (string, error) {
			return n.try(n.client, "sh", "-c", fmt.Sprintf("echo hello | %s connect %s", sallyport, n.path(profile+".toml")))
		}
		if out, err := send("tcp"); err != nil || out != "hello\n" {
			t.Errorf("%q (%v)", out, err)
		}
		if !strings.Contains(n.log(), "drawn port in use by another program") {
			t.Error("the log does not report the port")
		}
		// Another device of the same address finds that port open, and uses the minute
		// before, whose port is closed.
		if out, err := send("tcp2"); err != nil || out != "hello\n" {
			t.Errorf("another device: %q (%v)", out, err)
		}
	})

	t.Run("udp", func(t *testing.T) {
		m := early(10 * time.Second)
		port := n.drawn("udp", m)[0]
		out := n.run(n.client, sallyport, "knock", n.path("udp.toml"), "--json")
		if !strings.Contains(out, fmt.Sprintf(`"service":"%s/udp"`, at(asClient, port))) {
			t.Error(out)
		}
		n.opensUDP(n.client, at(asClient, port))
		if n.echoes(n.stranger, at(asStranger, port)) {
			t.Error("a stranger reaches the service")
		}
		n.run(nil, n.path("sallyportd"), "reload", "-c", n.path("gate/sallyportd.toml"))
		n.opensUDP(n.client, at(asClient, port))
	})

	t.Run("all ports are taken", func(t *testing.T) {
		m := early(15 * time.Second)
		port := n.drawn("web", m)[0]
		n.knock("web")
		n.server.Process.Kill()
		n.server.Wait()
		if n.reaches(n.client, at(asClient, port)) {
			t.Error("open without a server")
		}
		for _, minute := range []schedule.Minute{m - 1, m, m + 1} {
			for _, port := range n.drawn("web", minute) {
				foreign(t, port)
			}
		}
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
		m := early(20 * time.Second)
		for _, name := range []string{"web", "new"} {
			n.knock(name)
			n.opens(n.client, at(asClient, n.drawn(name, m)[0]))
		}
		if n.drawn("web", m)[0] == n.drawn("new", m)[0] {
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
	n.configure("stealth = true\n[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":0\"\nport = \"rotate\"\nopen_for = \"3m\"\nopen_max = \"3m\"\n"+
		"[[service]]\nname = \"echo\"\ntype = \"firewall\"\nlisten = \":7000\"\nport = \"rotate\"\nopen_for = \"3m\"\nopen_max = \"3m\"\n",
		"web=web", "echo=echo")
	n.serve()
	m := early(30 * time.Second)
	web, echo := n.drawn("web", m)[0], n.drawn("echo", m)[0]
	ports := []int{int(web), int(web) + 1, int(echo), int(echo) + 1, 7000}
	before := n.scan(ports, nil)
	n.knock("web")
	n.knock("echo")
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
