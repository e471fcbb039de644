package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"sallyport/bench/netns"
)

// programs names the environment variable with the directory of the built
// programs: client/sallyport and server/sallyportd. Tests that run again in a
// namespace inherit it.
const programs = "SALLYPORT_TEST_PROGRAMS"

// together is how many end-to-end tests run at a time: most of their time they
// wait for the network, or for a lease to end.
const together = 8

var buildOnce = sync.OnceValue(func() error {
	if os.Getenv(programs) != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "sallyport-programs")
	if err != nil {
		return err
	}
	os.Setenv(programs, dir)
	// Other users start them, too.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for name, source := range map[string]string{"client": ".", "server": "../sallyportd"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name)+"/", source)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
})

// build builds both programs, once for all tests.
func build(t *testing.T) {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatalf("build the programs: %v", err)
	}
}

// runTests removes what the tests built.
func runTests(m *testing.M) int {
	netns.Together(together)
	inherited := os.Getenv(programs) != ""
	code := m.Run()
	if dir := os.Getenv(programs); dir != "" && !inherited {
		os.RemoveAll(dir)
	}
	return code
}

// enter is netns.Enter for a test that runs beside others, with the programs
// built.
func enter(t *testing.T) bool {
	t.Helper()
	t.Parallel()
	build(t)
	return netns.Enter(t)
}

// enterPrivileged is enter for tests that need the host's root.
func enterPrivileged(t *testing.T) bool {
	t.Helper()
	t.Parallel()
	build(t)
	return netns.EnterPrivileged(t)
}

// long leaves a test out of a short run: it waits for leases to end, or scans.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("waits for long")
	}
}
