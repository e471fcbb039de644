// Package badprogram gives tests a program that misbehaves, for whatever starts
// programs. It is a server, or a command, and its flags choose what it does:
//
//	-listen ADDRESS     serves pages at host:port, unix:/PATH, or "inherit": on the
//	                    socket that it gets by systemd's protocol. /env is its
//	                    environment, /fds its descriptors, /self its identity
//	-listen-after TIME  begins to listen later
//	-ignore-term        ignores SIGTERM, and so do its children
//	-fork-away          goes on in a child with another session, and ends
//	-children N         starts children that do nothing, in other sessions
//	-die-after TIME     ends later, whatever it does
//	-flood BYTES        writes so much to its output and its errors, as fast as it
//	                    can: long lines, control characters, and no last newline
//	-record FILE        appends a line about itself to a file: its identity, and its
//	                    variables SALLYPORT_…
//	-hang               never ends by itself
//	-exit CODE          the exit code
//
// Without a flag it ends at once, with exit code 0. Linux only.
package badprogram

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// variable is the environment variable with the path of the built program. Tests that
// run again in a namespace inherit it.
const variable = "SALLYPORT_TEST_BADPROGRAM"

// built is the program that this process has built, and how many tests use it.
var built struct {
	sync.Mutex
	dir   string
	users int
}

// Path returns the absolute path of the program. Every user of the host may execute it.
// The first call builds it; the file exists until the tests end that have called Path. A
// test that calls netns.Enter can call Path before, so that the program is built once.
func Path(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	built.Lock()
	defer built.Unlock()
	if built.users == 0 {
		if err := build(); err != nil {
			t.Fatalf("build the program: %v", err)
		}
	}
	built.users++
	t.Cleanup(func() {
		built.Lock()
		defer built.Unlock()
		if built.users--; built.users == 0 {
			os.RemoveAll(built.dir)
		}
	})
	return filepath.Join(built.dir, "misbehave")
}

func build() (err error) {
	if built.dir, err = os.MkdirTemp("", "sallyport-misbehave"); err != nil {
		return err
	}
	if err := os.Chmod(built.dir, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", built.dir+"/", "sallyport/bench/badprogram/misbehave")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
