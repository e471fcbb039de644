package main

import (
	"bufio"
	"encoding/json"
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

	"sallyport/bench/netns"
)

// forwardRun is a running "sallyport forward --json".
type forwardRun struct {
	n      *network
	on     *netns.Host
	cmd    *exec.Cmd
	mu     sync.Mutex
	events []forwardEvent
	stderr strings.Builder
	done   chan struct{} // closed at the end of its output
}

// forwards starts "sallyport forward", behind a command if there is one, and returns it
// when it listens on n ports.
func (n *network) forwards(on *netns.Host, ports int, by []string, args ...string) *forwardRun {
	n.t.Helper()
	words := append(append(by, n.path("sallyport"), "forward", "--json"), args...)
	f := &forwardRun{n: n, on: on, cmd: exec.Command(words[0], words[1:]...), done: make(chan struct{})}
	f.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	f.cmd.Stderr = &f.stderr
	f.start()
	n.await("the local ports", func() bool { return f.count("listening") == ports })
	return f
}

func (f *forwardRun) start() {
	f.n.t.Helper()
	out, err := f.cmd.StdoutPipe()
	if err == nil {
		err = f.on.Do(f.cmd.Start)
	}
	if err != nil {
		f.n.t.Fatal(err)
	}
	f.n.t.Cleanup(func() {
		f.cmd.Process.Kill()
		f.cmd.Wait()
		if f.n.t.Failed() {
			f.n.t.Logf("events of forward: %+v\n%s", f.events, f.stderr.String())
		}
	})
	go func() {
		defer close(f.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e forwardEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				f.n.t.Errorf("%q: %v", lines.Text(), err)
			}
			f.mu.Lock()
			f.events = append(f.events, e)
			f.mu.Unlock()
		}
	}()
}

// count returns how many events there were of a kind.
func (f *forwardRun) count(kind string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Event == kind {
			n++
		}
	}
	return n
}

// interrupt ends the command, as Ctrl-C does.
func (f *forwardRun) interrupt() {
	f.n.t.Helper()
	f.cmd.Process.Signal(os.Interrupt)
	<-f.done
	if err := f.cmd.Wait(); err != nil {
		f.n.t.Errorf("ended with %v\n%s", err, f.stderr.String())
	}
}

// echoed sends a text over a local port, and returns the answer.
func (f *forwardRun) echoed(at, text string) (string, error) {
	c, err := f.n.dial(f.on, "tcp", at)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(netns.Deadline(f.n.t))
	io.WriteString(c, text)
	c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	return string(got), err
}

// TestForward: many connections to local ports open the service by one knock; the
// first after the lease, and the first after a restart of the server, by another one.
// Datagrams too are carried. A stranger does not get in.
func TestForward(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go func() {
		b := make([]byte, 2048)
		for {
			m, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			udp.WriteTo(b[:m], from)
		}
	}()
	n.configure(fmt.Sprintf(`[[service]]
name = "echo"
type = "proxy"
listen = ":8080"
upstream = %q
open_for = "1h"
open_max = "2h"
[[service]]
name = "datagrams"
type = "proxy"
protocol = "udp"
listen = ":9090"
upstream = %q
open_for = "1h"
open_max = "2h"
`, echoEOF(t), udp.LocalAddr()), "alice")
	n.serve()
	f := n.forwards(n.client, 3, nil, n.path("alice.toml"), "8080", "127.0.0.2:18080:8080", "19090:9090/udp")
	all := func(count int) {
		t.Helper()
		var running sync.WaitGroup
		for i := range count {
			at := []string{"127.0.0.1:8080", "[::1]:8080", "127.0.0.2:18080"}[i%3]
			running.Go(func() {
				text := strings.Repeat(fmt.Sprintf("line %d ", i), 1000)
				if got, err := f.echoed(at, text); err != nil || got != text {
					t.Errorf("%d, at %s: %d of %d bytes, %v", i, at, len(got), len(text), err)
				}
			})
		}
		running.Wait()
	}
	leases := func() int { return n.logged("msg=opened service=echo ") }
	// Datagrams first: the knock for them watches the TCP service.
	c, err := n.dial(n.client, "udp", "127.0.0.1:19090")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 3 {
		text, b := fmt.Sprintf("datagram %d", i), make([]byte, 64)
		n.await("the echo of "+text, func() bool { // one that comes before the service is open is lost
			c.Write([]byte(text))
			c.SetReadDeadline(time.Now().Add(time.Second))
			m, err := c.Read(b)
			return err == nil && string(b[:m]) == text
		})
	}
	all(30)
	all(3)
	if got := leases(); got != 1 {
		t.Errorf("%d knocks for 33 connections and a flow", got)
	}
	if n.reaches(n.stranger, asStranger+":8080") {
		t.Error("a stranger gets in")
	}
	// Without the lease, plain connections fail.
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "--all")
	n.closes("echo")
	all(10)
	if got := leases(); got != 2 {
		t.Errorf("after the lease: %d knocks, want one more", got-1)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n.serve()
	all(10)
	open, err := n.dial(n.client, "tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	open.SetDeadline(netns.Deadline(t))
	netns.Until(t, "the connection to the service", func() bool { return leases() > 2 })
	f.interrupt()
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("at the end, a program sees %v, want a reset", err)
	}
	if f.count("failed") > 0 || f.stderr.Len() > 0 {
		t.Errorf("failures: %+v\n%s", f.events, f.stderr.String())
	}
}

// TestForwardFails: while the server does not run, local connections are reset, and the
// cause is printed once. Then it works.
func TestForwardFails(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf("[[service]]\nname = \"echo\"\ntype = \"proxy\"\nlisten = \":8080\"\nupstream = %q\n", echoEOF(t)), "alice")
	f := n.forwards(n.client, 1, nil, n.path("alice.toml"), "8080", "--no-wait", "--timeout", "500ms")
	for i := range 3 {
		if got, err := f.echoed("127.0.0.1:8080", "text"); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("connection %d: %q, %v, want a reset", i, got, err)
		}
	}
	f.mu.Lock()
	if len(f.events) != 2 || f.events[1].Event != "failed" || f.events[1].Port != "8080" || f.events[1].Reason == "" || f.events[1].Hint == "" {
		t.Errorf("events: %+v, want one failure with a reason and hints", f.events)
	}
	f.mu.Unlock()
	n.serve()
	n.await("an answer", func() bool {
		got, err := f.echoed("127.0.0.1:8080", "text")
		return err == nil && got == "text"
	})
	f.interrupt()
}

// TestForwardISN: a service that is bound to sequence numbers gets a knock for each
// connection; the service beside it does not.
func TestForwardISN(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newISNNetwork(t)
	n.serve()
	f := n.forwards(n.insider, 2, nil, n.path("one.toml"), "2022:22", "2023:23")
	var running sync.WaitGroup
	for i := range 3 {
		for _, at := range []string{"127.0.0.1:2022", "[::1]:2023"} {
			running.Go(func() {
				text := fmt.Sprintf("line %d\n", i)
				if got, err := f.echoed(at, text); err != nil || got != greeting+text {
					t.Errorf("%s: %q, %v", at, got, err)
				}
			})
		}
	}
	running.Wait()
	if n.greets(n.neighbour, "22") {
		t.Error("the neighbour behind the NAT gets in")
	}
	opened := map[string]int{}
	f.mu.Lock()
	for _, e := range f.events {
		if e.Event == "open" {
			opened[e.Port]++
		}
	}
	f.mu.Unlock()
	if opened["22"] != 3 || opened["23"] > 1 {
		t.Errorf("knocks by port: %v, want 3 for port 22", opened)
	}
	f.interrupt()
}

// TestForwardRotates: the local port stays, while the service's port changes: of a TCP
// and of a UDP service.
func TestForwardRotates(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("127.0.0.1:7000")
	const rotating = "[[service]]\nname = %q\ntype = \"proxy\"\nlisten = \":0\"\nport = \"rotate\"\nrotate_ports = %q\nupstream = %q\nopen_for = \"1h\"\nopen_max = \"1h\"\n"
	n.configure(fmt.Sprintf(rotating, "tcp", "10000-15999", echoEOF(t))+
		fmt.Sprintf(rotating, "udp", "16000-21999", "127.0.0.1:7000")+"protocol = \"udp\"\n", "tcp=tcp", "udp=udp")
	n.serve()
	tcp := n.forwards(n.client, 1, nil, n.path("tcp.toml"), "8080:rotate")
	for range 5 {
		if got, err := tcp.echoed("127.0.0.1:8080", "text"); err != nil || got != "text" {
			t.Errorf("%q, %v", got, err)
		}
	}
	udp := n.forwards(n.client, 1, nil, n.path("udp.toml"), "8080:rotate/udp")
	n.opensUDP(n.client, "127.0.0.1:8080")
	if tcp.count("open") != 1 || udp.count("open") != 1 {
		t.Errorf("%d and %d knocks, want 1 and 1", tcp.count("open"), udp.count("open"))
	}
	tcp.interrupt()
	udp.interrupt()
}

// TestForwardRandom: each connection gets a random port, by another exchange.
func TestForwardRandom(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf("[[service]]\nname = \"echo\"\ntype = \"proxy\"\nlisten = \":8080\"\nupstream = %q\n[challenge]\n", echoEOF(t)) +
		n.operation("open-echo", "service = \"echo\"\nport = \"random\""))
	n.operationProfile("open-echo")
	n.serve()
	f := n.forwards(n.client, 1, nil, n.path("open-echo.toml"), "8080:random")
	for range 3 {
		if got, err := f.echoed("127.0.0.1:8080", "text"); err != nil || got != "text" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if f.count("open") != 3 {
		t.Errorf("%d exchanges, want 3", f.count("open"))
	}
	f.interrupt()
}

// TestForwardActivated: sockets that another program has opened, as systemd does: of
// TCP, of UDP and a Unix socket.
func TestForwardActivated(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf("[[service]]\nname = \"echo\"\ntype = \"proxy\"\nlisten = \":8080\"\nupstream = %q\nopen_for = \"1h\"\nopen_max = \"2h\"\n", echoEOF(t)), "alice")
	n.serve()
	path := n.path("socket")
	var files []*os.File
	if err := n.client.Do(func() error {
		for _, at := range [][2]string{{"tcp4", "127.0.0.1:7070"}, {"unix", path}} {
			l, err := net.Listen(at[0], at[1])
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			file, err := l.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				return err
			}
			files = append(files, file)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	words := []string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, n.path("sallyport"), "forward", "--json", n.path("alice.toml"), "8080"}
	f := &forwardRun{n: n, on: n.client, cmd: exec.Command(words[0], words[1:]...), done: make(chan struct{})}
	f.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"), "LISTEN_FDS=2", "LISTEN_FDNAMES=web.socket:web.socket")
	f.cmd.ExtraFiles, f.cmd.Stderr = files, &f.stderr
	f.start()
	n.await("the sockets", func() bool { return f.count("listening") == 1 })
	if local := f.events[0].Local; len(local) != 2 || local[0] != "127.0.0.1:7070" || local[1] != path {
		t.Errorf("it listens on %q", local)
	}
	if got, err := f.echoed("127.0.0.1:7070", "text"); err != nil || got != "text" {
		t.Errorf("%q, %v", got, err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(netns.Deadline(t))
	io.WriteString(c, "text")
	c.(*net.UnixConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "text" {
		t.Errorf("over the Unix socket: %q, %v", got, err)
	}
	f.interrupt()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the command has removed the socket of systemd: %v", err)
	}
}
