package main

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/faultcall"
)

// syncs are the calls that wait for the disk.
var syncs = []faultcall.Call{{Number: unix.SYS_FSYNC, Argument: -1}, {Number: unix.SYS_FDATASYNC, Argument: -1}}

// faultyWeb is a service of the tests of faults.
const faultyWeb = "[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\nopen_for = \"5s\"\n"

// once makes the client knock once, and wait for a second at most.
func (n *network) once() { n.tryKnock("all", "--attempts", "1", "--timeout", "1s") }

// TestSlowDisk: the disk hangs, with a nonce on its way there. The sequence opens nothing
// until the nonce is on the disk, the server answers its operator, and no thread waits for
// each further sequence.
func TestSlowDisk(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(faultyWeb, "all")
	disk := faultcall.New(t, nil, syncs...)
	n.serve(disk.Prefix()...)
	disk.Hang()
	n.once()
	n.await("the disk to hang", func() bool { return disk.Met() > 0 })
	before := n.threads()
	var knocks sync.WaitGroup
	for range 20 {
		knocks.Go(n.once)
	}
	knocks.Wait()
	// A thread is in the call that hangs, and the runtime may need a few for others.
	if now := n.threads(); now > before+10 {
		t.Errorf("%d threads for 20 sequences, %d for the first", now, before)
	}
	if disk.Met() > 2 {
		t.Errorf("%d calls wait for the disk", disk.Met())
	}
	out := n.run(nil, n.path("sallyportd"), "status", "-c", n.path("gate/sallyportd.toml"), "--json")
	if !strings.Contains(out, `"leases":0,`) || n.reaches(n.client, asClient+":8080") || strings.Contains(n.log(), "msg=opened") {
		t.Errorf("open before its nonce was durable: %s\n%s", out, n.log())
	}
	disk.Heal()
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":8080") })
	if n.reaches(n.stranger, asStranger+":8080") {
		t.Error("open to a stranger")
	}
}

// threads returns the number of the server's threads.
func (n *network) threads() int {
	n.t.Helper()
	threads, err := strconv.Atoi(n.status(n.server.Process.Pid, "Threads"))
	if err != nil {
		n.t.Fatal(err)
	}
	return threads
}

// TestDiskTurnsReadOnly: the state file no longer accepts a change, as after the kernel has
// mounted a failing disk read-only. Nothing opens, and the log has the reason.
func TestDiskTurnsReadOnly(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(faultyWeb, "all")
	disk := faultcall.New(t, nil, append(syncs, faultcall.Call{Number: unix.SYS_PWRITE64, Argument: -1}, faultcall.Call{Number: unix.SYS_PWRITEV2, Argument: -1})...)
	n.serve(disk.Prefix()...)
	disk.Fail(unix.EROFS)
	n.once()
	n.await("the error", func() bool { return n.logged("failed to record nonces; rejecting all grants") > 0 })
	if n.reaches(n.client, asClient+":8080") || strings.Contains(n.log(), "msg=opened") || !strings.Contains(n.log(), "read-only file system") {
		t.Errorf("met %d calls:\n%s", disk.Met(), n.log())
	}
	disk.Heal()
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":8080") })
}

// TestDiskReadOnlyAtStart: a server whose state directory cannot be written does not start,
// and names the file and the reason.
func TestDiskReadOnlyAtStart(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(faultyWeb, "all")
	dir := n.path("gate/state")
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount(dir, dir, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	out, err := n.try(nil, "timeout", "30", n.path("sallyportd"), "serve", "-c", n.path("gate/sallyportd.toml"))
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, dir) || !strings.Contains(out, "read-only file system") {
		t.Errorf("a start: %v, %s", err, out)
	}
	if n.reaches(n.client, asClient+":8080") {
		t.Error("open without a server")
	}
}
