package main

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/runner"
)

// stepVariable is the path of a file that this process and all that it starts map: by
// how many nanoseconds their wall clock is ahead of the host's. A namespace cannot have
// another wall clock.
const stepVariable = "SALLYPORT_TEST_STEP"

// steppedMain is main, with the clock of stepVariable, and testNames as the resolver.
func steppedMain() {
	bind()
	runner.Helper()
	cli.Main(func(env cli.Env) *cobra.Command {
		env.LookupIP = testNames
		path := os.Getenv(stepVariable)
		if path == "" {
			return command(env)
		}
		step, err := mapStep(path)
		if err != nil {
			panic(err)
		}
		env.Clock = step.clock(env.Clock)
		return command(env)
	})
}

// stepped is a step of the wall clock, in memory that processes share.
type stepped struct{ *atomic.Int64 }

// newStepped makes this process, and all servers that it starts, use another wall clock.
// The test must run in its own process.
func newStepped(t *testing.T) stepped {
	t.Helper()
	s, path := newStep(t)
	os.Setenv(stepVariable, path)
	return s
}

// newStep makes the file of a step, for the servers that start with it in stepVariable.
func newStep(t *testing.T) (s stepped, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "step")
	if err := os.WriteFile(path, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := mapStep(path)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func mapStep(path string) (s stepped, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return s, err
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return s, os.NewSyscallError("mmap", err)
	}
	return stepped{(*atomic.Int64)(unsafe.Pointer(unsafe.SliceData(b)))}, nil
}

// now is the time of day.
func (s stepped) now() time.Time { return time.Now().Round(0).Add(time.Duration(s.Load())) }

// step sets the wall clock forward, or back.
func (s stepped) step(d time.Duration) { s.Add(int64(d)) }

// startAt sets the wall clock forward to a second of its minute.
func (s stepped) startAt(second int) {
	now := s.now()
	s.step(now.Truncate(time.Minute).Add(time.Minute + time.Duration(second)*time.Second).Sub(now))
}

// clock returns the clocks of a host with this wall clock.
func (s stepped) clock(host clock.Clock) clock.Clock {
	host.Wall = s.now
	host.OnJump = func(ctx context.Context, f func()) {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for last := s.Load(); ; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if at := s.Load(); at != last {
				last = at
				f()
			}
		}
	}
	return host
}
