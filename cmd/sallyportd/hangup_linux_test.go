package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestHangupsAtStart: SIGHUP requests a reload from the first moment on. One that
// arrives before the server serves does not end it, and is not lost.
func TestHangupsAtStart(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	makeGuests(t, dir)
	cmd := exec.Command("/proc/self/exe", "serve", "-c", filepath.Join(dir, config.FileName))
	cmd.Args[0] = "sallyportd"
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for !ignoresHangups(t, cmd.Process.Pid) {
		time.Sleep(100 * time.Microsecond)
	}
	// The first one is sent at once: on a busy machine the server may serve
	// before the next tick.
	cmd.Process.Signal(syscall.SIGHUP)
	var log []string
	sent, serving, reloaded := 1, false, false
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !reloaded {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("ended after %d hangups: %v\n%s", sent, cmd.Wait(), strings.Join(log, "\n"))
			}
			log = append(log, line)
			serving = serving || strings.Contains(line, "msg=serving")
			reloaded = strings.Contains(line, "msg=reloaded")
		case <-tick.C:
			if !serving {
				cmd.Process.Signal(syscall.SIGHUP)
				sent++
			}
		}
	}
	if !serving {
		t.Errorf("reloaded before it served:\n%s", strings.Join(log, "\n"))
	}
	cmd.Process.Signal(syscall.SIGTERM)
	for range lines {
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// ignoresHangups reports whether a process ignores SIGHUP.
func ignoresHangups(t *testing.T, pid int) bool {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "SigIgn:")
	mask, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	signals, err := strconv.ParseUint(mask, 16, 64)
	return err == nil && signals&(1<<(syscall.SIGHUP-1)) != 0
}
