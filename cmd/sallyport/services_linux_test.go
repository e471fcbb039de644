package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// network is a server's host, a client's and a stranger's:
//
//	client 198.51.100.2 --- 198.51.100.1 server 203.0.113.1 --- 203.0.113.2 stranger
//
// with IPv6 beside it (2001:db8::/64 and 2001:db8:1::/64).
type network struct {
	t                *testing.T
	client, stranger *netns.Host
	dir              string
	server           *exec.Cmd
}

const (
	asClient   = "198.51.100.1" // the server, as they reach it
	asStranger = "203.0.113.1"
)

// newNetwork builds both programs and the network, in which the test is the
// server's host. Who is privileged is the host's root; others are root in a
// namespace of their own.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, client: netns.NewHost(t), stranger: netns.NewHost(t), dir: t.TempDir()}
	netns.Connect(t, netns.End{Name: "toclient", Addresses: []string{asClient + "/24", "2001:db8::1/64"}}, n.client,
		netns.End{Name: "client", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "2001:db8::2/64"}})
	netns.Connect(t, netns.End{Name: "tostranger", Addresses: []string{asStranger + "/24", "2001:db8:1::1/64"}}, n.stranger,
		netns.End{Name: "stranger", Addresses: []string{"203.0.113.2/24", "2001:db8:1::2/64"}})
	n.run(nil, "go", "build", "-o", n.dir, ".", "../sallyportd")
	return n
}

func (n *network) path(name string) string { return filepath.Join(n.dir, name) }

// run runs a command on a host, nil for the server's, and returns what it says.
func (n *network) run(on *netns.Host, name string, args ...string) string {
	n.t.Helper()
	out, err := n.try(on, name, args...)
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s\nserver: %s", name, strings.Join(args, " "), err, out, n.log())
	}
	return out
}

func (n *network) try(on *netns.Host, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
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

// configure makes a server's files: these services, and a client for each of
// the names.
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

// serve starts the server, by way of a command if one is given, and waits
// until it is there.
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
	if err := n.server.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { n.stop() })
	n.await("the server", func() bool { return strings.Count(n.log(), "msg=serving") > before })
}

// stop ends the server in order.
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

func (n *network) await(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("never: %s\nserver: %s", what, n.log())
		}
	}
}

// knock has a client knock, and watch the service of its profile or another.
func (n *network) knock(profile string) {
	n.t.Helper()
	n.run(n.client, n.path("sallyport"), "knock", n.path(profile+".toml"))
}

// dial connects to a port of the server.
func (n *network) dial(on *netns.Host, protocol, address string) (c net.Conn, err error) {
	err = on.Do(func() error {
		c, err = net.DialTimeout(protocol, address, time.Second)
		return err
	})
	return c, err
}

// reaches reports whether a TCP connection comes to stand, and lasts.
func (n *network) reaches(on *netns.Host, address string) bool {
	c, err := n.dial(on, "tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// echoes reports whether a UDP port answers.
func (n *network) echoes(on *netns.Host, address string) bool {
	c, err := n.dial(on, "udp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	for range 5 {
		c.Write([]byte("hello"))
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		b := make([]byte, 16)
		if m, err := c.Read(b); err == nil {
			return string(b[:m]) == "hello"
		}
	}
	return false
}

// echo answers UDP, and pours without end to who connects over TCP.
func (n *network) echo(address string) {
	n.t.Helper()
	u, err := net.ListenPacket("udp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { u.Close(); l.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			m, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			u.WriteTo(b[:m], from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				go io.Copy(io.Discard, c)
				io.Copy(c, endless{})
			}()
		}
	}()
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return min(len(b), 4096), nil
}

// sshd starts a real one on a port, and returns the options with which ssh
// logs in there.
func (n *network) sshd(port int) (options []string) {
	n.t.Helper()
	me, err := user.Current()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, key := range []string{"host_key", "user_key"} {
		n.run(nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", n.path(key))
	}
	config := fmt.Sprintf("Port %d\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n",
		port, n.path("host_key"), n.path("user_key.pub"))
	if err := os.WriteFile(n.path("sshd_config"), []byte(config), 0o600); err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", n.path("sshd_config"))
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	n.await("sshd", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return []string{"-F", "/dev/null", "-i", n.path("user_key"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "BatchMode=yes", "-l", me.Username}
}

// scan is what nmap says of ports, without what differs from run to run.
func (n *network) scan(on *netns.Host, address, kind string, ports []int) string {
	n.t.Helper()
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = strconv.Itoa(p)
	}
	out := n.run(on, "nmap", "-n", "-Pn", "--reason", "-vv", "--max-retries", "2", "-T4", "--max-rtt-timeout", "300ms", kind, "-p", strings.Join(list, ","), address)
	lines := regexp.MustCompile(`(?m)^\d+/(tcp|udp) .*$`).FindAllString(out, -1)
	if len(lines) != len(ports) {
		n.t.Fatalf("nmap tells of %d ports, want %d:\n%s", len(lines), len(ports), out)
	}
	return kind + "\n" + strings.Join(lines, "\n")
}

// knockPorts are those of now and the minutes beside it, with their
// neighbours.
func (n *network) knockPorts(profile string) (ports []int) {
	n.t.Helper()
	out := n.run(nil, n.path("sallyport"), "ports", n.path(profile+".toml"))
	for _, text := range regexp.MustCompile(`\b\d{4,5}\b`).FindAllString(out, -1) {
		if p, err := strconv.Atoi(text); err == nil && p > 1025 && p < 65535 {
			ports = append(ports, p-1, p, p+1)
		}
	}
	return ports
}

// alive reports whether a process is there.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
