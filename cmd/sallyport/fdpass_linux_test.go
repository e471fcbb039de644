package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sessionOwnsConnection runs an ssh whose command prints SSH_CONNECTION, and then
// copies its input. While the session lasts, the connection to sshd must be a socket of
// the process ssh, and the program must not run. Data passes unchanged.
func sessionOwnsConnection(t *testing.T, ssh *exec.Cmd, program string) {
	t.Helper()
	in, err := ssh.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := ssh.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	ssh.Stderr = &complaints
	if err := ssh.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	line, err := reader.ReadString('\n')
	connection := strings.Fields(line)
	if err != nil || len(connection) != 4 {
		t.Fatalf("ssh printed %q, %v: %s", line, err, &complaints)
	}
	if inode := inodeOfPort(t, connection[1]); !ownsSocket(ssh.Process.Pid, inode) {
		t.Errorf("the connection from port %s is not a socket of ssh", connection[1])
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		text, _ := os.ReadFile(path)
		if words := strings.Split(string(text), "\x00"); words[0] == program && slices.Contains(words, "--fdpass") {
			t.Errorf("%s still runs: %q", path, words)
		}
	}
	data := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{})
	random.Read(data)
	go func() {
		in.Write(data)
		in.Close()
	}()
	got, err := io.ReadAll(reader)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("sent %d bytes, received %d, which are the same: %t; %v", len(data), len(got), bytes.Equal(got, data), err)
	}
	if err := ssh.Wait(); err != nil {
		t.Errorf("ssh: %v\n%s", err, &complaints)
	}
}

// inodeOfPort returns the inode of the connection from a local port over IPv4.
func inodeOfPort(t *testing.T, port string) (inode string) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	fmt.Sscan(port, &n)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
			return f[9]
		}
	}
	t.Fatalf("no connection from port %s in\n%s", port, table)
	return ""
}

func ownsSocket(pid int, inode string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if to, _ := os.Readlink(filepath.Join(dir, e.Name())); to == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}

// TestPass: the receiver gets the connection as connect(2) leaves one.
func TestPass(t *testing.T) {
	stdout, receiver := socketPair(t)
	conn, served := tcpPair(t)
	if _, err := served.Write([]byte("greeting")); err != nil {
		t.Fatal(err)
	}
	to, err := newPasser(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.pass(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	stdout.Close()
	fd := receive(t, receiver)
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v: expected a blocking descriptor", flags, err)
	}
	fresh, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fresh)
	for name, option := range map[string][2]int{
		"TCP_NODELAY": {unix.IPPROTO_TCP, unix.TCP_NODELAY}, "TCP_KEEPIDLE": {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
		"TCP_KEEPINTVL": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, "TCP_KEEPCNT": {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	} {
		got, err1 := unix.GetsockoptInt(fd, option[0], option[1])
		want, err2 := unix.GetsockoptInt(fresh, option[0], option[1])
		if got != want || err1 != nil || err2 != nil {
			t.Errorf("%s is %d, %v; a new socket has %d, %v", name, got, err1, want, err2)
		}
	}
	b := make([]byte, 64)
	if n, err := unix.Read(fd, b); err != nil || string(b[:n]) != "greeting" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	// Nothing else has the connection: its end is the receiver's.
	unix.Write(fd, []byte("bye"))
	unix.Close(fd)
	if got, err := io.ReadAll(served); string(got) != "bye" || err != nil {
		t.Errorf("the service read %q, %v", got, err)
	}
	// The byte with the descriptor is the only one.
	if n, err := unix.Read(receiver, b); n != 0 || err != nil {
		t.Errorf("the receiver read %d more bytes, %v", n, err)
	}
}

// TestPassWaits: the receiver's socket is full. The program waits, and can be
// interrupted. If the receiver has ended, the program fails.
func TestPassWaits(t *testing.T) {
	stdout, receiver := socketPair(t)
	conn, _ := tcpPair(t)
	to, err := newPasser(stdout)
	if err != nil {
		t.Fatal(err)
	}
	for full := error(nil); full == nil; {
		full = control(stdout, func(fd int) error {
			return unix.Sendmsg(fd, make([]byte, 4096), nil, nil, unix.MSG_DONTWAIT)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- to.pass(ctx, conn) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	unix.Close(receiver)
	if err := to.pass(t.Context(), conn); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the receiver has ended: %v", err)
	}
}

// TestPassRequiresUnixSocket: other outputs are refused before anything is sent.
func TestPassRequiresUnixSocket(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	conn, _ := tcpPair(t)
	tcp, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	closed, _ := os.Open(os.DevNull)
	closed.Close()
	for name, w := range map[string]io.Writer{"a pipe": write, "TCP": tcp, "a buffer": new(bytes.Buffer), "closed": closed} {
		if _, err := newPasser(w); err == nil || !strings.Contains(err.Error(), "not a Unix socket") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func socketPair(t *testing.T) (program *os.File, receiver int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	program = os.NewFile(uintptr(fds[0]), "stdout")
	t.Cleanup(func() { program.Close() })
	return program, fds[1]
}

func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := net.Dialer{KeepAlive: -1} // as package client connects
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// receive receives a descriptor, as ssh does: one byte, and the descriptor beside it.
func receive(t *testing.T, socket int) int {
	t.Helper()
	b, control := make([]byte, 16), make([]byte, 64)
	n, size, _, _, err := unix.Recvmsg(socket, b, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		t.Fatalf("received %d bytes, %v", n, err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	return fds[0]
}
