package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/badprogram"
	"sallyport/bench/netns"
)

// The users of the tests with programs: that of the server, and those of programs. Each
// Debian has them.
const (
	serverUser  = "65534"
	programUser = "5"
	commandUser = "9"
)

// enterPrograms is enterPrivileged for tests whose server starts programs. It returns
// the path of the program that misbehaves.
func enterPrograms(t *testing.T) (misbehave string, ok bool) {
	t.Helper()
	misbehave = badprogram.Path(t)
	return misbehave, enterPrivileged(t)
}

// newProgramNetwork makes the network for a server that runs as serverUser, with
// services. Programs and commands can write to the directory "made".
func newProgramNetwork(t *testing.T, services func(n *network) string, clients ...string) *network {
	t.Helper()
	n := newNetwork(t)
	n.configure(fmt.Sprintf("user = %q\n%s", serverUser, services(n)), clients...)
	for _, dir := range []string{n.dir, filepath.Dir(n.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.run(nil, "chown", "-R", serverUser+":"+serverUser, n.path("gate"))
	n.run(nil, "install", "-d", "-m", "777", n.path("made"))
	// Whatever a test has done, nothing runs after its server has ended.
	t.Cleanup(func() {
		if n.server != nil && len(n.processes()) < 2 {
			t.Errorf("server and runner are not among the processes %v", n.processes())
		}
		n.stop()
		n.await("the end of all processes", func() bool { return len(n.processes()) == 0 })
	})
	return n
}

// process is a process of the test's network, apart from the test itself.
type process struct {
	pid, parent int
	zombie      bool
	user        string
	args        []string
}

// is reports whether the process was started with an argument.
func (p process) is(arg string) bool { return slices.Contains(p.args, arg) }

// processes returns the processes that are in the server's network namespace, and
// those that have ended and were not reaped.
func (n *network) processes() (list []process) {
	n.t.Helper()
	own, err := os.Readlink("/proc/thread-self/ns/net") // the main thread may be on another host
	if err != nil {
		n.t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		n.t.Fatal(err)
	}
	var zombies []process
	in := map[int]bool{os.Getpid(): true}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, err := readProcess(pid)
		if err != nil {
			continue // it has ended
		}
		if p.zombie {
			zombies = append(zombies, p)
		} else if space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && space == own {
			in[pid] = true
			list = append(list, p)
		}
	}
	for _, p := range zombies {
		if in[p.parent] && p.parent != os.Getpid() {
			list = append(list, p)
		}
	}
	return list
}

func readProcess(pid int) (p process, err error) {
	p.pid = pid
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "PPid":
			p.parent, err = strconv.Atoi(fields[0])
		case "State":
			p.zombie = fields[0] == "Z"
		case "Uid":
			p.user = fields[0]
		}
	}
	args, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil {
		err = readErr
	}
	for _, a := range bytes.Split(bytes.TrimSuffix(args, []byte{0}), []byte{0}) {
		p.args = append(p.args, string(a))
	}
	return p, err
}

// running returns the processes that were started with an argument.
func (n *network) running(arg string) (list []process) {
	n.t.Helper()
	return slices.DeleteFunc(n.processes(), func(p process) bool { return !p.is(arg) })
}

// page returns the answer to a request; empty: there is none.
func (n *network) page(on *netns.Host, address, path string) string {
	c, err := n.dial(on, "tcp", address)
	if err != nil {
		return ""
	}
	defer c.Close()
	if err := c.SetDeadline(netns.Deadline(n.t)); err != nil {
		n.t.Fatal(err)
	}
	io.WriteString(c, "GET "+path+" HTTP/1.0\r\n\r\n")
	text, _ := io.ReadAll(c)
	return string(text)
}

// kill sends SIGKILL. A process that has ended is no error.
func kill(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
