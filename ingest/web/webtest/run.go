package webtest

import (
	"bytes"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"
)

// Run runs a server program at a free port of 127.0.0.1, and returns its address.
func Run(t testing.TB, program func(at netip.AddrPort, directory string) *exec.Cmd) netip.AddrPort {
	t.Helper()
	return RunAt(t, netip.AddrFrom4([4]byte{127, 0, 0, 1}), program)
}

// RunAt is Run for another address.
func RunAt(t testing.TB, address netip.Addr, program func(at netip.AddrPort, directory string) *exec.Cmd) netip.AddrPort {
	t.Helper()
	for range 10 { // another program may take the port first
		free, err := net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		at := free.Addr().(*net.TCPAddr).AddrPort()
		free.Close()
		var log bytes.Buffer
		command := program(at, t.TempDir())
		command.Stdout, command.Stderr = &log, &log
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			command.Wait()
		}()
		t.Cleanup(func() {
			command.Process.Kill()
			<-stopped
			if t.Failed() {
				t.Logf("%s: %s", command.Path, log.Bytes())
			}
		})
		if listens(at, stopped) {
			return at
		}
	}
	t.Fatal("the program has not started")
	return netip.AddrPort{}
}

// listens waits until a program listens, and reports whether it does; if not, it has
// stopped.
func listens(at netip.AddrPort, stopped <-chan struct{}) bool {
	for {
		select {
		case <-stopped:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		c, err := net.Dial("tcp", at.String())
		if err == nil {
			c.Close()
			return true
		}
	}
}
