package netns

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Stop stops a process, and waits until none of its threads runs: kill(2) does not. The test
// fails if there is no such process.
func Stop(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("stop process %d: %v", pid, err)
	}
	Until(t, fmt.Sprintf("process %d stands still", pid), func() bool { return standsStill(t, pid) })
}

func standsStill(t testing.TB, pid int) bool {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d has ended: %v", pid, err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, thread.Name()))
		if err != nil {
			return false // the thread has ended
		}
		// The state is behind the name, which may contain anything: proc_pid_stat(5).
		_, state, _ := strings.Cut(string(text)[strings.LastIndexByte(string(text), ')'):], " ")
		if state[0] != 'T' {
			return false
		}
	}
	return true
}
