package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// store is a service manager with a store of descriptors: the part of systemd that a
// restart requires.
type store struct {
	socket string
	limit  int // of descriptors; 0: there is none
	// reports: servers learn the limit, as from systemd 254 on.
	reports bool

	mu    sync.Mutex
	files []stored
}

type stored struct {
	name string
	*os.File
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{socket: filepath.Join(t.TempDir(), "notify")}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		s.stopUnit()
	})
	go func() {
		b, oob := make([]byte, 4096), make([]byte, 4096)
		for {
			n, m, _, _, err := l.ReadMsgUnix(b, oob)
			if err != nil {
				return
			}
			s.take(string(b[:n]), received(oob[:m]))
		}
	}()
	return s
}

// received returns the files of a message.
func received(oob []byte) (files []*os.File) {
	messages, _ := unix.ParseSocketControlMessage(oob)
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "stored"))
		}
	}
	return files
}

func (s *store) take(message string, files []*os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Split(message, "\n")
	name := ""
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = text
		}
	}
	if slices.Contains(lines, "FDSTORE=1") {
		for _, f := range files {
			if s.limit > 0 && len(s.files) >= s.limit {
				f.Close()
				continue
			}
			s.files = append(s.files, stored{name, f})
		}
		return
	}
	if slices.Contains(lines, "FDSTOREREMOVE=1") {
		s.files = slices.DeleteFunc(s.files, func(f stored) bool {
			if f.name == name {
				f.Close()
			}
			return f.name == name
		})
	}
	for _, f := range files { // of a barrier
		f.Close()
	}
}

// put adds a file that no server has stored.
func (s *store) put(name string, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = append(s.files, stored{name, f})
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files)
}

// stopUnit closes all files, as systemd does when the unit stops.
func (s *store) stopUnit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		f.Close()
	}
	s.files = nil
}

// prepare passes the files to a server that starts, and the socket.
func (s *store) prepare(cmd *exec.Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, f := range s.files {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f.File)
		names = append(names, f.name)
	}
	// The server has the process ID of this shell.
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, cmd.Args...)
	cmd.Path = "/bin/sh"
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.socket, fmt.Sprintf("LISTEN_FDS=%d", len(s.files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	if s.limit > 0 && s.reports {
		cmd.Env = append(cmd.Env, fmt.Sprintf("FDSTORE=%d", s.limit))
	}
}
