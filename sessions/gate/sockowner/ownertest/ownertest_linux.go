// Package ownertest runs servers as processes of other users, for tests. They
// require the privileges of root: see netns.EnterPrivileged. Linux only.
package ownertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the environment variable that makes this test program a server.
const marker = "SALLYPORT_TEST_OWNED"

func init() {
	if text := os.Getenv(marker); text != "" {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		fields := strings.Fields(text)
		if err := serve(fields[0], fields[1], fields[2:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// The options of Start.
const (
	Hold      = "hold" // accept nothing, and read nothing
	ReuseAddr = "reuseaddr"
	ReusePort = "reuseport"
	ToLink    = "lo"       // bind to the loopback interface (SO_BINDTODEVICE)
	ReadOnly  = "readonly" // read until the end of file, and report the number of bytes on a line of Lines
)

// UserQuery is the datagram to which a server replies with its user's number.
const UserQuery = "user"

// Server is a process of another user.
type Server struct {
	cmd   *exec.Cmd
	Lines *bufio.Reader // what it prints
}

// Start starts a server that echoes, as a user. It returns when the server listens,
// or an error if it cannot. network is tcp, udp, unix, or inherit: then f is the
// listening socket. With network dial, the process connects to a Unix socket instead,
// and ends.
func Start(t testing.TB, uid uint32, f *os.File, network, address string, options ...string) (*Server, error) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe")
	cmd.Env = []string{marker + "=" + strings.Join(append([]string{network, address}, options...), " "), "GORACE=atexit_sleep_ms=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	// The process ends when this pipe closes, as it does when the test is killed.
	// Pdeathsig would kill it earlier: when the thread ends that has started it.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if f != nil {
		cmd.ExtraFiles = []*os.File{f}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Server{cmd, bufio.NewReader(out)}
	t.Cleanup(s.Kill)
	line, err := s.Lines.ReadString('\n')
	if err == nil && line != "ready\n" {
		err = fmt.Errorf("user ID %d at %s: %s", uid, address, strings.TrimSpace(line))
	}
	return s, err
}

// MustStart is Start for servers that can listen.
func MustStart(t testing.TB, uid uint32, network, address string, options ...string) *Server {
	t.Helper()
	s, err := Start(t, uid, nil, network, address, options...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Kill ends the process, and waits for it.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// Signal sends it a signal.
func (s *Server) Signal(sig os.Signal) { s.cmd.Process.Signal(sig) }

// Config returns how a server with these options listens.
func Config(options ...string) net.ListenConfig {
	has := func(o string) bool { return slices.Contains(options, o) }
	return net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, number(has(ReuseAddr))) // the net package sets it for TCP
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, number(has(ReusePort)))
			if has(ToLink) {
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo")
			}
		})
	}}
}

// As runs f in a thread whose new sockets belong to another user.
func As(t testing.TB, uid int, f func()) {
	t.Helper()
	done := make(chan int)
	go func() {
		runtime.LockOSThread() // and ends with the goroutine
		unix.SetfsuidRetUid(uid)
		now, _ := unix.SetfsuidRetUid(-1)
		if now == uid {
			f()
		}
		done <- now
	}()
	if now := <-done; now != uid {
		t.Fatalf("acts as user ID %d", now)
	}
}

func serve(network, address string, options []string) error {
	has := func(o string) bool { return slices.Contains(options, o) }
	lc := Config(options...)
	if network == "udp" {
		c, err := lc.ListenPacket(context.Background(), network, address)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return err
			}
			if string(b[:n]) == UserQuery {
				n = copy(b, fmt.Sprint(os.Getuid()))
			}
			c.WriteTo(b[:n], from)
		}
	}
	if network == "dial" {
		c, err := net.Dial("unix", address)
		if err == nil {
			fmt.Println("ready")
			c.Close()
		}
		return err
	}
	l, err := listen(lc, network, address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if has(Hold) {
		time.Sleep(time.Hour)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if has(ReadOnly) {
				n, err := io.Copy(io.Discard, c)
				fmt.Println(n, err)
				return
			}
			io.Copy(c, c)
		}()
	}
}

func listen(lc net.ListenConfig, network, address string) (net.Listener, error) {
	if network != "inherit" {
		return lc.Listen(context.Background(), network, address)
	}
	f := os.NewFile(3, "inherited")
	defer f.Close()
	return net.FileListener(f)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
