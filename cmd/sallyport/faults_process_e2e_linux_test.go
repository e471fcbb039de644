package main

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sendSignal sends a signal to a process.
func sendSignal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestSuspendedServer: a server that is stopped over the end of a lease. The kernel ends the
// lease in the firewall, the stopped server serves no connection, and leases that are over end as
// soon as it goes on.
func TestSuspendedServer(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(strings.Replace(faultyWeb, "5s\"\n", "5s\"\non_close = \"cut\"\n", 1)+fmt.Sprintf(pour, "5s"), "all")
	n.serve()
	web, pour := asClient+":8080", asClient+":5400"
	n.within("all", func() {}, func() bool { return n.reaches(n.client, web) && n.reaches(n.client, pour) })
	running, err := n.dial(n.client, "tcp", web)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	pid := n.server.Process.Pid
	sendSignal(t, pid, syscall.SIGSTOP)
	n.await("the kernel to end the lease", func() bool { return !n.reaches(n.client, pour) })
	if n.reaches(n.client, web) || n.reaches(n.stranger, asStranger+":8080") || n.reaches(n.stranger, asStranger+":5400") {
		t.Error("open while the server is stopped")
	}
	sendSignal(t, pid, syscall.SIGCONT)
	n.await("the end of both leases", func() bool { return strings.Count(n.log(), "reason=expired") == 2 })
	if n.reaches(n.client, web) || n.reaches(n.client, pour) {
		t.Error("open after the lease, and a stop of the server")
	}
	if _, err := io.Copy(io.Discard, running); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err) // it ends; how, does not matter
	}
	n.within("all", func() {}, func() bool { return n.reaches(n.client, web) && n.reaches(n.client, pour) })
}

// TestHolderHangs: the holder is stopped. The kernel ends the lease, nothing new opens, and
// the server ends with an error instead of waiting; the table stays closed.
func TestHolderHangs(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "5s"), "all")
	n.serve()
	helper := n.helperOf(n.server.Process.Pid)
	t.Cleanup(func() { syscall.Kill(helper, syscall.SIGKILL) })
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":5400") })
	sendSignal(t, helper, syscall.SIGSTOP)
	n.await("the kernel to end the lease", func() bool { return !n.reaches(n.client, asClient+":5400") })
	n.once()
	err := n.server.Wait()
	n.server = nil
	if err == nil || !strings.Contains(n.log(), "the firewall's holder is gone: no reply within") || !strings.Contains(n.log(), "the firewall's holder has not ended within") {
		t.Errorf("%v\n%s", err, n.log())
	}
	closed := func(when string) {
		t.Helper()
		if n.reaches(n.client, asClient+":5400") || n.reaches(n.stranger, asStranger+":5400") {
			t.Errorf("%s: open", when)
		}
	}
	closed("the server has ended")
	sendSignal(t, helper, syscall.SIGCONT)
	n.await("the end of the holder", func() bool { return ended(helper) })
	closed("the holder has executed what it was asked for, and has ended")
}

// TestCapturerHangs: the process that captures packets is stopped. No exchange opens
// anything, the log has the reason, and the exchange after it continues opens again.
func TestCapturerHangs(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(faultyWeb + "[challenge]\n" + n.operation("web-alice-", "service = \"web\""))
	n.operationProfile("web-alice-")
	n.serve()
	capturer := n.helperOf(n.server.Process.Pid)
	sendSignal(t, capturer, syscall.SIGSTOP)
	n.await("the event", func() bool { return n.logged("capturer silent; exchanges fail until it continues") == 1 })
	out, err := n.knockBy(n.client, "web-alice-", "--attempts", "1", "--timeout", "1s")
	if err == nil || n.reaches(n.client, asClient+":8080") {
		t.Errorf("an exchange without the capturer: %v, %s", err, out)
	}
	sendSignal(t, capturer, syscall.SIGCONT)
	n.await("the next event", func() bool { return n.logged("capturer continues") == 1 })
	if out, err := n.knockBy(n.client, "web-alice-"); err != nil {
		t.Errorf("%v, %s", err, out)
	}
	// A server that was stopped itself does not take its capturer for silent.
	server := n.server.Process.Pid
	sendSignal(t, server, syscall.SIGSTOP)
	time.Sleep(8 * time.Second) // not a condition: longer than two intervals
	sendSignal(t, server, syscall.SIGCONT)
	sendSignal(t, capturer, syscall.SIGSTOP)
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	sendSignal(t, capturer, syscall.SIGCONT)
	n.await("the end of the capturer", func() bool { return ended(capturer) })
	if n.logged("capturer silent") != 1 {
		t.Error(n.log())
	}
}
