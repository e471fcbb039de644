package clock_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/clock"
)

// TestKeeperRuns: a process with the name of a time service, which has CAP_SYS_TIME in its
// namespace, is found while it runs.
func TestKeeperRuns(t *testing.T) {
	proc := os.DirFS("/proc")
	if clock.Keepers(proc) == nil {
		t.Skip("not all processes of the host are visible")
	}
	if !netns.Enter(t) {
		return
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpdate")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(clock.Keepers(proc), "htpdate") {
		t.Skip("this host runs htpdate")
	}
	service := exec.Command(path, "3600")
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	if got := clock.Keepers(proc); !slices.Contains(got, "htpdate") {
		t.Errorf("while it runs: %q", got)
	}
	service.Process.Kill()
	service.Wait()
	if got := clock.Keepers(proc); slices.Contains(got, "htpdate") {
		t.Errorf("after its end: %q", got)
	}
}
