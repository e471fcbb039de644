package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"sallyport/bench/faultcall"
	"sallyport/bench/netns"
)

// programs is the environment variable with the directory of the built programs,
// client/sallyport and server/sallyportd. Tests that run again in a namespace inherit
// it.
const programs = "SALLYPORT_TEST_PROGRAMS"

// maxParallel is how many end-to-end tests run at a time. They mostly wait, for the
// network or the end of a lease.
const maxParallel = 8

var buildOnce = sync.OnceValue(func() error {
	if os.Getenv(programs) != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "sallyport-programs")
	if err != nil {
		return err
	}
	os.Setenv(programs, dir)
	// Tests start them as other users too.
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

// build builds both programs once, for all tests.
func build(t *testing.T) {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatalf("build the programs: %v", err)
	}
}

// runTests runs the tests, and removes the built programs.
func runTests(m *testing.M) int {
	faultcall.Main()
	netns.Together(maxParallel)
	inherited := os.Getenv(programs) != ""
	code := m.Run()
	if dir := os.Getenv(programs); dir != "" && !inherited {
		os.RemoveAll(dir)
	}
	return code
}

// enter is netns.Enter for a parallel test that requires the programs.
func enter(t *testing.T) bool {
	t.Helper()
	t.Parallel()
	build(t)
	return netns.Enter(t)
}

// enterPrivileged is enter for tests that require the host's root.
func enterPrivileged(t *testing.T) bool {
	t.Helper()
	t.Parallel()
	build(t)
	return netns.EnterPrivileged(t)
}

// long skips a test in a short run, since it waits for leases to end, or scans.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long")
	}
}
