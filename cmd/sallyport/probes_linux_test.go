package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// knock makes the client knock, and wait for the service of its profile.
func (n *network) knock(profile string) {
	n.t.Helper()
	if out, err := n.tryKnock(profile); err != nil {
		n.t.Fatalf("knock %s: %v\n%s\nserver: %s", profile, err, out, n.log())
	}
}

// tryKnock makes the client knock, and returns the output. A UDP service, which nothing
// confirms, is no error.
func (n *network) tryKnock(profile string, args ...string) (string, error) {
	return n.tryKnockFrom(n.client, profile, args...)
}

// tryKnockFrom is tryKnock on a host.
func (n *network) tryKnockFrom(on *netns.Host, profile string, args ...string) (string, error) {
	out, err := n.try(on, n.path("sallyport"), append([]string{"knock", n.path(profile + ".toml")}, args...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == unconfirmedCode {
		err = nil
	}
	return out, err
}

// dial connects to a port of the server, with a timeout of a second.
func (n *network) dial(on *netns.Host, protocol, address string) (net.Conn, error) {
	return n.dialUntil(time.Now().Add(time.Second), on, protocol, address)
}

func (n *network) dialUntil(end time.Time, on *netns.Host, protocol, address string) (c net.Conn, err error) {
	err = on.Do(func() error {
		c, err = (&net.Dialer{Deadline: end}).Dial(protocol, address)
		return err
	})
	return c, err
}

// reaches reports whether a TCP service answers. Each service of these tests sends
// first, or is an HTTP server, so the connection always has data or an end. A dropped
// SYN takes a second; for a service that should be open, use opens.
func (n *network) reaches(on *netns.Host, address string) bool {
	c, err := n.dial(on, "tcp", address)
	return err == nil && answers(c)
}

// answers reports whether a service sends data. It closes the connection.
func answers(c net.Conn) bool {
	defer c.Close()
	if _, err := io.WriteString(c, "GET /test1.html HTTP/1.0\r\n\r\n"); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 1))
	return err == nil
}

// opens waits until a service answers over TCP.
func (n *network) opens(on *netns.Host, address string) {
	n.t.Helper()
	n.await(address+" to be open", func() bool { return n.reaches(on, address) })
}

// opensUDP waits until a service answers over UDP.
func (n *network) opensUDP(on *netns.Host, address string) {
	n.t.Helper()
	n.await(address+" to be open over UDP", func() bool { return n.echoes(on, address) })
}

// closes waits until the server has closed services that it opened.
func (n *network) closes(services ...string) {
	n.t.Helper()
	n.await("the end of the leases", func() bool {
		log := n.settled() // it has a later opening, too
		return !slices.ContainsFunc(services, func(name string) bool {
			return strings.LastIndex(log, "msg=closed service="+name+" ") <= strings.LastIndex(log, "msg=opened service="+name+" ")
		})
	})
}

// within calls during while a client renews its lease by knocking repeatedly. At the
// end, held reports whether the lease was in force: if it expired on a busy machine,
// within repeats everything.
func (n *network) within(profile string, during func(), held func() bool) {
	n.t.Helper()
	n.await("a lease that lasts", func() bool {
		if out, err := n.tryKnock(profile); err != nil {
			n.t.Logf("knock: %v\n%s", err, out)
			return false
		}
		over, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-over:
					return
				case <-time.After(500 * time.Millisecond):
					// If a knock fails, the next one renews the lease.
					n.tryKnock(profile, "--no-wait")
				}
			}
		}()
		during()
		ok := held()
		close(over)
		<-stopped
		return ok
	})
}

// prints checks what a command prints during a lease: one that expires while the programs
// of a busy machine start is renewed.
func (n *network) prints(profile, want string, command ...string) {
	n.t.Helper()
	var got string
	var err error
	n.within(profile, func() { got, err = n.try(n.client, command[0], command[1:]...) }, func() bool { return err == nil })
	if !strings.Contains(got, want) {
		n.t.Errorf("%q printed %q", command, got)
	}
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

// echo starts a service that echoes UDP, and sends endless data over TCP.
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

// runForSSHD mounts a new /run with the directory that sshd requires: on this host,
// the service of sshd may never have created it. The test must be in a new mount
// namespace.
func runForSSHD(t *testing.T) {
	t.Helper()
	err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755")
	if err == nil {
		err = os.Mkdir("/run/sshd", 0o755)
	}
	if err != nil {
		t.Fatalf("make /run/sshd: %v", err)
	}
}

// sshd starts a real sshd on a port, and returns the options for ssh to log in.
func (n *network) sshd(port int) (options []string) {
	n.t.Helper()
	runForSSHD(n.t)
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

// scan returns what nmap reports about ports to the stranger, by four kinds of TCP
// scans and a UDP scan. All run at a time, since they mostly wait for answers.
func (n *network) scan(tcp, udp []int) string {
	n.t.Helper()
	kinds := []string{"-sS", "-sA", "-sF", "-sX", "-sU"}
	reports := make([]string, len(kinds))
	var g errgroup.Group
	for i, kind := range kinds {
		ports := tcp
		if kind == "-sU" {
			ports = udp
		}
		if len(ports) > 0 {
			g.Go(func() (err error) {
				reports[i], err = n.nmap(kind, ports)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		n.t.Fatal(err)
	}
	return strings.Join(reports, "\n")
}

// scanAs scans, and repeats the scan if the report is not as expected: on a busy
// machine, nmap may miss answers. A real difference occurs each time.
func (n *network) scanAs(want string, tcp, udp []int) (got string) {
	n.t.Helper()
	for range 3 {
		if got = n.scan(tcp, udp); got == want {
			break
		}
	}
	return got
}

// nmap returns a scan of one kind, without the parts that differ from run to run.
func (n *network) nmap(kind string, ports []int) (string, error) {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = strconv.Itoa(p)
	}
	out, err := n.try(n.stranger, "nmap", "-n", "-Pn", "--reason", "-vv", "--max-retries", "2", "-T4",
		"--max-rtt-timeout", "300ms", kind, "-p", strings.Join(list, ","), asStranger)
	if err != nil {
		return "", fmt.Errorf("nmap %s: %w\n%s", kind, err, out)
	}
	lines := regexp.MustCompile(`(?m)^\d+/(tcp|udp) .*$`).FindAllString(out, -1)
	if len(lines) != len(ports) {
		return "", fmt.Errorf("nmap %s reports %d ports, want %d:\n%s", kind, len(lines), len(ports), out)
	}
	return kind + "\n" + strings.Join(lines, "\n"), nil
}

// knockPorts returns the knock ports of now, with the ports next to them.
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

// alive reports whether a process exists.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
