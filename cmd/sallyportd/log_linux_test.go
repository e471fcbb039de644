package main

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// logged is a server that logs into a small pipe. The test reads the pipe until the
// server serves.
type logged struct {
	cmd    *exec.Cmd
	out    *os.File // nil: the log is a file
	in     *os.File // the other end of the pipe
	admin  admin.Conn
	guests []*guest
}

func startLogged(t *testing.T, before ...string) *logged {
	t.Helper()
	return startLoggedWith(t, "", before...)
}

// startLoggedWith is startLogged with more keys before those of the service.
func startLoggedWith(t *testing.T, keys string, before ...string) *logged {
	t.Helper()
	dir := t.TempDir()
	s := &logged{guests: makeGuests(t, dir), admin: admin.Conn{Socket: filepath.Join(dir, "sallyportd.sock")}}
	path := filepath.Join(dir, config.FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "[[service]]", keys+"[[service]]", 1) + "open_for = \"1s\"\non_close = \"cut\"\n")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var in *os.File
	if s.out, in, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(before, exe, "serve", "-c", path)
	s.cmd = exec.Command(args[0], args[1:]...)
	if before == nil {
		s.cmd.Args[0] = "sallyportd"
	}
	s.cmd.Stderr = in
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in = in
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.out.Close()
		s.in.Close()
	})
	for lines := bufio.NewReaderSize(s.out, 16); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the server ended before it served: %v", err)
		}
		if strings.Contains(line, "msg=serving") {
			break
		}
	}
	netns.Until(t, "the admin socket answers", func() bool { return admin.Running(s.admin.Socket) })
	return s
}

// stall fills the pipe, so that each write of the server and its processes blocks.
func (s *logged) stall(t *testing.T) {
	t.Helper()
	go s.in.Write(make([]byte, 1<<20)) // ends with the reader
	netns.Until(t, "the pipe is full", func() bool {
		n, err := unix.IoctlGetInt(int(s.out.Fd()), unix.TIOCINQ)
		return err == nil && n == 4096
	})
}

// reload makes the server write n lines, and expects that it continues.
func (s *logged) reload(t *testing.T, n int) {
	t.Helper()
	for range n {
		if _, err := s.admin.Reload(t.Context()); err != nil {
			t.Fatalf("reload: %v", err)
		}
	}
}

// enter knocks, and returns a connection to the service.
func (s *logged) enter(t *testing.T) net.Conn {
	t.Helper()
	a := s.guests[0].attempt(t)
	a.send(t, a.from)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(a.from)}, Timeout: time.Second}
	var conn net.Conn
	netns.Until(t, "the client gets in", func() (ok bool) {
		var err error
		conn, err = dialer.DialContext(t.Context(), "tcp", "127.0.0.1:8080")
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (s *logged) stop(t *testing.T) {
	t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ends with %v", err)
	}
}

// TestLogReaderGoesAway: the server serves without a reader of its log, whether its
// parent ignored SIGPIPE or not.
func TestLogReaderGoesAway(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for name, before := range map[string][]string{
		"default": nil,
		"ignored": {"bash", "-c", `trap "" PIPE; exec -a sallyportd "$@"`, "bash"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startLogged(t, before...)
			s.in.Close()
			s.out.Close()
			s.reload(t, 3)
			s.enter(t)
			s.stop(t)
		})
	}
}

// TestLogReaderStalls: while the reader of the log does not read, leases begin, and
// end with their connections, and the server reloads and stops. So do services behind a
// holder, whose log is the same pipe.
func TestLogReaderStalls(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for name, keys := range map[string]string{"alone": "", "with a holder": "stealth = true\n"} {
		t.Run(name, func(t *testing.T) {
			s := startLoggedWith(t, keys)
			s.stall(t)
			s.reload(t, 100)
			for range 3 {
				conn := s.enter(t)
				conn.SetReadDeadline(netns.Deadline(t))
				// Behind the firewall, the lease ends without a packet for the client.
				if _, err := conn.Read(make([]byte, 1)); keys == "" && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the end of the lease did not cut its connection: %v", err)
				}
			}
			s.stop(t)
		})
	}
}

// TestLogDiskIsFull: a server whose log cannot be written grants, reloads and stops.
func TestLogDiskIsFull(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	dir := t.TempDir()
	s := &logged{guests: makeGuests(t, dir), admin: admin.Conn{Socket: filepath.Join(dir, "sallyportd.sock")}}
	s.cmd = exec.Command("/proc/self/exe", "serve", "-c", filepath.Join(dir, config.FileName))
	s.cmd.Args[0], s.cmd.Stderr = "sallyportd", full
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	netns.Until(t, "the admin socket answers", func() bool { return admin.Running(s.admin.Socket) })
	s.reload(t, 30)
	s.enter(t)
	status, err := s.admin.Status(t.Context())
	if err != nil || status.Counters["log_dropped"] == 0 {
		t.Errorf("counted %d lines: %v", status.Counters["log_dropped"], err)
	}
	s.stop(t)
}
