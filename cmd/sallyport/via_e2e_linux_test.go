package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"sallyport/bench/netns"
)

const viaKeys = "bind = \"connection\"\nvia = \"proxy\"\nvia_port = 10025\n"

// behind is a program behind the firewall that requires a PROXY header. It replies with
// the addresses of the header, and echoes.
type behind struct {
	net.Listener
	mu       sync.Mutex
	accepted int
	bare     int // connections without a header
}

// behindProxy starts the program.
func (n *network) behindProxy(address string) *behind {
	n.t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	b := &behind{Listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.accepted++
			b.mu.Unlock()
			go b.serve(c)
		}
	}()
	return b
}

func (b *behind) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	header, err := proxyproto.Read(r)
	if err != nil {
		b.mu.Lock()
		b.bare++
		b.mu.Unlock()
		io.WriteString(c, "no header\n")
		return
	}
	fmt.Fprintf(c, "%v to %v, version %d\n", header.SourceAddr, header.DestinationAddr, header.Version)
	io.Copy(c, r)
	c.(*net.TCPConn).CloseWrite()
}

// seen returns how many connections the program got, and how many without a header.
func (b *behind) seen() (accepted, bare int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accepted, b.bare
}

// connectAs sends a text over the connection of "sallyport connect", and returns the
// answer.
func (n *network) connectAs(profile, text string, args ...string) (string, error) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), n.path("sallyport"), append([]string{"connect", n.path(profile + ".toml")}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	cmd.Stdin = strings.NewReader(text)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := n.client.Do(cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("connect: %w\n%s\nserver: %s", err, errs.String(), n.log())
	}
	return out.String(), nil
}

// TestViaProxy: with via = "proxy", only connections that have proved themselves reach
// the program behind the firewall, which sees the client's address; also after the rules
// were flushed, and after the server or its holder was killed.
func TestViaProxy(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	program := n.behindProxy("[::]:2525")
	n.echo("[::]:2526")
	const lasts = "open_for = \"1h\"\nopen_max = \"2h\"\npolicy = \"reject\"\n"
	n.configure(endWithServer+"[[service]]\nname = \"mail\"\ntype = \"firewall\"\nlisten = \":2525\"\n"+viaKeys+lasts+
		"[[service]]\nname = \"plain\"\ntype = \"firewall\"\nlisten = \":2526\"\n"+lasts, "alice=mail")
	six := n.path("six.toml")
	n.run(nil, n.path("sallyportd"), "client", "add", "-c", n.path("gate/sallyportd.toml"), "--services", "mail", "--server", "2001:db8::1", "--out", six)
	holder := n.hold()
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	want, _ := program.seen()
	closed := func(when string) {
		t.Helper()
		for _, port := range []string{":2525", ":10025"} {
			for host, addresses := range map[*netns.Host][]string{n.client: {asClient, "[2001:db8::1]"}, n.stranger: {asStranger, "[2001:db8:1::1]"}} {
				for _, address := range addresses {
					if n.reaches(host, address+port) {
						t.Errorf("%s: %s is open", when, address+port)
					}
				}
			}
		}
		if got, _ := program.seen(); got != want {
			t.Errorf("%s: the program has %d connections, want %d", when, got, want)
			want = got
		}
	}
	in := func(when, profile, from, to string) {
		t.Helper()
		text := strings.Repeat("0123456789abcdef", 1<<12)
		got, err := n.connectAs(profile, text)
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
		first, rest, _ := strings.Cut(got, "\n")
		if !strings.HasPrefix(first, from+":") || !strings.HasSuffix(first, " to "+to+":2525, version 2") || rest != text {
			t.Errorf("%s: the program answered %q and %d bytes, want from %s to %s", when, first, len(rest), from, to)
		}
		want++
	}
	// Without a proof: a reset, and no byte.
	tried := func(when, address string) {
		t.Helper()
		c, err := n.dialUntil(netns.Deadline(t), n.client, "tcp", address)
		if err != nil {
			t.Errorf("%s: %v", when, err)
			return
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: an impatient program, which proves nothing\r\n\r\n")
		c.SetReadDeadline(netns.Deadline(t))
		if m, err := c.Read(make([]byte, 1)); m != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %d bytes, %v; want a reset", when, m, err)
		}
	}
	everyPort := []int{2524, 2525, 2526, 10024, 10025}
	unused := n.scan(everyPort[:1], nil)
	alike := func(when string) {
		t.Helper()
		var different string
		for range 5 {
			if different = difference(n.scan(everyPort, nil)); different == "" {
				return
			}
		}
		t.Errorf("%s: a scan shows a difference to %s:\n%s", when, unused, different)
	}
	closed("before")
	alike("before")
	in("first", "alice", "198.51.100.2", asClient)
	closed("with a lease, without a proof")
	tried("with a lease", asClient+":2525")
	in("again", "alice", "198.51.100.2", asClient)
	in("over IPv6", "six", "[2001:db8::2]", "[2001:db8::1]")
	tried("over IPv6", "[2001:db8::1]:2525")
	alike("with a lease")
	closed("with two leases")

	before := n.counted("restored")
	n.run(nil, "nft", "flush", "ruleset")
	n.await("the table", func() bool { return n.logged("restored") > before })
	closed("after a flush")
	in("after a flush", "alice", "198.51.100.2", asClient)

	// The server is killed. Another program takes its port, and gets nothing.
	n.server.Process.Kill()
	n.server.Wait()
	n.server = nil
	n.await("the holder to close everything", func() bool { return n.logged("server connection lost; everything is closed") == 1 })
	closed("after the server was killed")
	thief := n.behindProxy("[::]:10025")
	closed("with another program at via_port")
	if got, _ := thief.seen(); got != 0 {
		t.Errorf("a program that took the server's port has %d connections", got)
	}
	// The next server waits for its port, and until then no lease leads to that program.
	n.serve("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
	if n.counted("service port unavailable") == 0 {
		t.Errorf("the server has the port of another program:\n%s", n.log())
	}
	if out, err := n.tryKnock("alice", "--watch", "none"); err != nil {
		t.Errorf("knock: %v\n%s", err, out)
	}
	n.await("the lease", func() bool {
		return strings.Contains(n.run(nil, n.path("sallyportd"), "lease", "list", "-c", n.path("gate/sallyportd.toml")), "mail")
	})
	closed("while another program has via_port")
	if got, _ := thief.seen(); got != 0 {
		t.Errorf("before the server has its port, another program has %d connections", got)
	}
	thief.Close()
	n.await("the server's port", func() bool { return n.logged("service port bound on retry") > 0 })
	closed("with the next server")
	in("with the next server", "alice", "198.51.100.2", asClient)

	holder.Process.Kill()
	holder.Wait()
	n.await("the end of the leases", func() bool { return n.logged("firewall holder lost; all leases end") == 1 })
	closed("without a holder")
	holder = n.hold()
	n.await("the next holder", func() bool { return n.logged("firewall holder connected") == 1 })
	closed("with the next holder")
	in("with the next holder", "alice", "198.51.100.2", asClient)

	// Without the proxy, a lease lets a connection of its address in. A reload changes
	// nothing; the next server and holder do.
	path := n.path("gate/sallyportd.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := n.try(nil, n.path("sallyportd"), "reload", "-c", path)
		if err == nil || !strings.Contains(out, "restart") {
			t.Errorf("reload: %v\n%s", err, out)
		}
	}
	restart := func() {
		t.Helper()
		if err := n.stop(); err != nil {
			t.Errorf("the server stopped with %v", err)
		}
		holder.Process.Signal(syscall.SIGTERM)
		if err := holder.Wait(); err != nil {
			t.Errorf("the holder stopped with %v", err)
		}
		holder = n.hold()
		n.serve()
	}
	change(strings.Replace(string(text), viaKeys, "", 1))
	in("after a reload", "alice", "198.51.100.2", asClient)
	restart()
	closed("without the proxy")
	n.rewrite("alice", "unbound", "bind = 'connection'\n", "", "service_name = 'mail'\n", "")
	n.knock("unbound")
	direct, err := n.dial(n.client, "tcp", asClient+":2525")
	if err != nil {
		t.Fatalf("without the proxy, the service is closed: %v\n%s", err, n.log())
	}
	defer direct.Close()
	header := proxyproto.HeaderProxyFromAddrs(1, direct.LocalAddr(), direct.RemoteAddr())
	echoes := bufio.NewReader(direct)
	if _, err := header.WriteTo(direct); err != nil {
		t.Fatal(err)
	}
	if line, err := echoes.ReadString('\n'); err != nil || !strings.Contains(line, "version 1") {
		t.Errorf("without the proxy: %q, %v", line, err)
	}
	want, _ = program.seen()
	change(string(text))
	restart()
	closed("with the proxy again")
	io.WriteString(direct, "more\n")
	direct.SetReadDeadline(time.Now().Add(2 * time.Second))
	if line, err := echoes.ReadString('\n'); err == nil {
		t.Errorf("the program answers a connection that did not prove itself: %q", line)
	}
	in("with the proxy again", "alice", "198.51.100.2", asClient)
	n.revokedWhileConnected("six")
	want++
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", path, "--all")
	closed("at the end")
	if _, bare := program.seen(); bare != 0 {
		t.Errorf("%d connections without a header", bare)
	}
}

// revokedWhileConnected revokes a client during a connection, and waits for its end.
func (n *network) revokedWhileConnected(profile string) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), n.path("sallyport"), "connect", n.path(profile+".toml"))
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = n.client.Do(cmd.Start)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	if _, err := answers.ReadString('\n'); err != nil {
		n.t.Fatalf("%v\nserver: %s", err, n.log())
	}
	n.run(nil, n.path("sallyportd"), "client", "revoke", "-c", n.path("gate/sallyportd.toml"), n.identifier(profile))
	io.Copy(io.Discard, answers) // it ends with the connection
	if err := cmd.Wait(); err == nil {
		n.t.Error("the connection of a revoked client ended in order")
	}
}

// TestViaProxyLocalUsers: of the users of the server's host, only root and the server's
// connect to the program, and none to the port before it.
func TestViaProxyLocalUsers(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newProgramNetwork(t, func(*network) string {
		return "[[service]]\nname = \"mail\"\ntype = \"firewall\"\nlisten = \":2525\"\n" + viaKeys + "open_for = \"1h\"\nopen_max = \"2h\"\non_open = [\"/bin/true\"]\ncommand_user = \"" + commandUser + "\"\n"
	}, "alice")
	program := n.behindProxy("[::]:2525")
	n.serve()
	if got, err := n.connectAs("alice", "a line\n"); err != nil || !strings.HasSuffix(got, "a line\n") {
		t.Errorf("got %q, %v", got, err)
	}
	as := func(user, address string) string {
		out, err := n.try(nil, "setpriv", "--reuid="+user, "--regid="+user, "--clear-groups", "bash", "-c",
			"exec 3<>/dev/tcp/${0/:/\\/} && echo forged >&3 && head -n 1 <&3", address)
		return fmt.Sprint(strings.TrimSpace(out), err)
	}
	for _, host := range []string{"127.0.0.1", asClient} {
		before, _ := program.seen()
		for _, user := range []string{programUser, "1000"} {
			for _, port := range []string{":2525", ":10025"} {
				if got := as(user, host+port); !strings.Contains(got, "refused") {
					t.Errorf("user %s at %s: %s", user, host+port, got)
				}
			}
		}
		if got := as("0", host+":10025"); !strings.Contains(got, "refused") {
			t.Errorf("root at %s:10025: %s", host, got)
		}
		if got, _ := program.seen(); got != before {
			t.Errorf("local users made %d connections", got-before)
		}
		for _, user := range []string{"0", serverUser} {
			if got := as(user, host+":2525"); !strings.HasPrefix(got, "no header") {
				t.Errorf("user %s at %s: %s", user, host, got)
			}
		}
	}
}

// TestViaProxyNginx: a real nginx, configured as in the guide, shows the client's
// address. Without a proof, no request reaches it.
func TestViaProxyNginx(t *testing.T) {
	const nginx = "/usr/sbin/nginx"
	if _, err := exec.LookPath(nginx); err != nil {
		t.Skip("needs nginx")
	}
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"admin\"\ntype = \"firewall\"\nlisten = \":8090\"\nbind = \"connection\"\nvia = \"proxy\"\nvia_port = 10090\nopen_for = \"1h\"\nopen_max = \"2h\"\n", "alice")
	n.run(nil, "install", "-d", "-m", "777", n.path("made"))
	n.write("nginx.conf", strings.ReplaceAll(`worker_processes 2;
user root;
pid MADE/nginx.pid;
error_log stderr warn;
events {}
http {
    log_format plain '$remote_addr $request_uri';
    access_log MADE/access.log plain;
    client_body_temp_path MADE/body;
    proxy_temp_path MADE/proxy;
    fastcgi_temp_path MADE/fastcgi;
    uwsgi_temp_path MADE/uwsgi;
    scgi_temp_path MADE/scgi;
    server {
        listen 8090 proxy_protocol;
        set_real_ip_from 127.0.0.1;
        real_ip_header proxy_protocol;
        location / { return 200 "for $remote_addr\n"; }
    }
}
`, "MADE", n.path("made")))
	program := exec.Command(nginx, "-c", n.path("nginx.conf"), "-g", "daemon off;")
	program.Stderr = os.Stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		program.Process.Signal(syscall.SIGTERM)
		program.Wait()
	})
	n.await("nginx", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:8090")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	n.serve()
	out := n.run(n.client, n.path("sallyport"), "run", n.path("alice.toml"), "--", "curl", "-sS", "http://{host}:{port}/proved")
	if out != "for 198.51.100.2\n" {
		t.Errorf("nginx answered %q", out)
	}
	if n.reaches(n.client, asClient+":8090") {
		t.Error("nginx answers without a proof")
	}
	if n.reaches(n.stranger, asStranger+":8090") {
		t.Error("nginx answers a stranger")
	}
	if log, err := os.ReadFile(n.path("made/access.log")); err != nil || string(log) != "198.51.100.2 /proved\n" {
		t.Errorf("nginx got the requests %q, %v", log, err)
	}
}
