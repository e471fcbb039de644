package main

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
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
	netns.Stop(t, pid)
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

// TestSuspendedOverATurn: a server is stopped while the minute ends. It checks the knocks that
// wait by the time at which it continues: those that are still valid open, those that are not
// open nothing. Then it has the ports of the new minute.
func TestSuspendedOverATurn(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	const tolerance = 5 * time.Second // the shortest
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("clock_tolerance = \"5s\"\n"+fmt.Sprintf(pour, "5s"), "valid", "late", "later", "latest", "next")
	n.serve()
	pid, port := n.server.Process.Pid, asClient+":5400"
	openedFor := func(client string) bool {
		return strings.Contains(n.log(), "msg=opened service=pour client="+n.identifier(client)+" ")
	}
	waits := func(client string) {
		t.Helper()
		netns.Stop(t, pid)
		n.tryKnock(client, "--attempts", "1", "--timeout", "1s")
	}
	n.await("a grant by knocks that have waited", func() bool {
		waits("valid")
		sendSignal(t, pid, syscall.SIGCONT)
		for range 20 { // a busy machine may need longer, or the minute may have ended
			if openedFor("valid") {
				return true
			}
			time.Sleep(100 * time.Millisecond)
		}
		return false
	})
	n.closes("pour")
	late := ""
	for _, client := range []string{"late", "later", "latest"} {
		m := beforeTurn(15 * time.Second)
		waits(client)
		if time.Now().After((m + 1).Start()) { // on a busy machine the knocks may be of the next minute
			sendSignal(t, pid, syscall.SIGCONT)
			continue
		}
		late = client
		time.Sleep(time.Until((m + 1).Start().Add(tolerance + 2*time.Second))) // not a condition: the knocks are over then
		sendSignal(t, pid, syscall.SIGCONT)
		break
	}
	n.within("next", func() {}, func() bool { return openedFor("next") && n.reaches(n.client, port) })
	n.await("the end of the leases", func() bool { return n.counted("msg=opened") == n.counted("msg=closed") })
	if late == "" || openedFor(late) || n.reaches(n.client, port) || n.reaches(n.stranger, asStranger+":5400") {
		t.Errorf("open by knocks of a minute that is over, or after a lease:\n%s", n.log())
	}
}

// longPour is a service behind the firewall with a lease that lasts.
const longPour = "[[service]]\nname = \"long\"\ntype = \"firewall\"\nlisten = \":5401\"\nopen_for = \"10m\"\nopen_max = \"10m\"\n"

// TestHolderHangs: the holder is stopped. The server notices that without a client, and
// waits: the kernel ends leases in time, those with time left stay, and nothing new opens.
// When the holder continues, all is as before.
func TestHolderHangs(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("[::]:5401")
	n.configure(fmt.Sprintf(pour, "5s")+longPour, "all", "other")
	n.serve()
	helper := n.helperOf(n.server.Process.Pid)
	t.Cleanup(func() { syscall.Kill(helper, syscall.SIGKILL) })
	n.knock("all")
	netns.Stop(t, helper)
	n.await("the event", func() bool { return n.logged("firewall holder silent; nothing opens until it continues") == 1 })
	n.await("the kernel to end the lease", func() bool { return !n.reaches(n.client, asClient+":5400") })
	out, err := n.tryKnock("other", "--attempts", "1", "--timeout", "1s")
	if err == nil || n.reaches(n.client, asClient+":5400") {
		t.Errorf("a knock while the holder is stopped: %v, %s", err, out)
	}
	n.await("the error", func() bool { return n.logged("the firewall's holder does not answer") > 0 })
	status := n.run(nil, n.path("sallyportd"), "status", "-c", n.path("gate/sallyportd.toml"), "--json")
	if !strings.Contains(status, `"holder":{"connected":true,"silent":true,"restarts":0}`) {
		t.Error(status)
	}
	out, _ = n.try(nil, n.path("sallyportd"), "check", "-c", n.path("gate/sallyportd.toml"))
	if !strings.Contains(out, "the holder of the firewall does not answer the server") {
		t.Error(out)
	}
	n.opens(n.client, asClient+":5401") // the other lease
	if n.reaches(n.stranger, asStranger+":5400") || n.reaches(n.stranger, asStranger+":5401") {
		t.Error("open to a stranger")
	}
	sendSignal(t, helper, syscall.SIGCONT)
	n.await("the next event", func() bool { return n.logged("firewall holder continues") == 1 })
	n.opens(n.client, asClient+":5401")
	n.within("other", func() {}, func() bool { return n.reaches(n.client, asClient+":5400") })
	if strings.Contains(n.log(), "holder is gone") || strings.Contains(n.log(), "msg=closed service=long") {
		t.Error(n.log())
	}
}

// TestHolderHangsTooLong: a grant is under way when the holder is stopped, so that it has an
// unknown outcome, or the holder is silent for a minute. The server ends with an error
// instead of waiting; the table stays closed.
func TestHolderHangsTooLong(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "5s"), "all")
	n.serve()
	helper := n.helperOf(n.server.Process.Pid)
	t.Cleanup(func() { syscall.Kill(helper, syscall.SIGKILL) })
	netns.Stop(t, helper)
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
	n.await("the end of the holder, which the kernel continues", func() bool { return ended(helper) })
	closed("the holder has executed what it was asked for, and has ended")
}

// TestIndependentHolderHangs: the server gives up a holder that is silent for a minute, though it
// has not started it. When the holder continues, it closes everything, and serves the server again.
func TestIndependentHolderHangs(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5401")
	n.configure(longPour, "all", "other")
	pid := n.hold().Process.Pid
	n.serve()
	n.knock("all")
	netns.Stop(t, pid)
	n.await("the server to give it up", func() bool { return n.logged("firewall holder lost; leases wait for the next one") == 1 })
	if n.logged("firewall holder silent; nothing opens until it continues") != 1 || !strings.Contains(n.log(), "no reply within 1m0s") {
		t.Error(n.log())
	}
	sendSignal(t, pid, syscall.SIGCONT)
	n.await("the holder to serve again", func() bool { return n.logged("firewall holder connected") == 1 })
	n.knock("other")
	n.opens(n.client, asClient+":5401")
	if n.reaches(n.stranger, asStranger+":5401") {
		t.Error("open to a stranger")
	}
}

// TestStoppedHolderOfDeadServer: the server is killed while its holder is stopped. The kernel
// continues the holder, which closes everything and ends, so that the next server can start.
func TestStoppedHolderOfDeadServer(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5401")
	n.configure(longPour, "all")
	n.serve()
	helper := n.helperOf(n.server.Process.Pid)
	t.Cleanup(func() { syscall.Kill(helper, syscall.SIGKILL) })
	n.knock("all")
	n.opens(n.client, asClient+":5401")
	netns.Stop(t, helper)
	sendSignal(t, n.server.Process.Pid, syscall.SIGKILL)
	n.server.Wait()
	n.server = nil
	n.await("the end of the holder", func() bool { return ended(helper) })
	if n.reaches(n.client, asClient+":5401") || n.reaches(n.stranger, asStranger+":5401") {
		t.Error("open after the end of the server")
	}
	n.serve()
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":5401") })
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
	netns.Stop(t, capturer)
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
	netns.Stop(t, server)
	time.Sleep(8 * time.Second) // not a condition: longer than two intervals
	sendSignal(t, server, syscall.SIGCONT)
	// A stopped capturer ends with its server, however that ends.
	netns.Stop(t, capturer)
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	n.await("the end of the capturer", func() bool { return ended(capturer) })
	if n.logged("capturer silent") != 1 {
		t.Error(n.log())
	}
	n.serve()
	capturer = n.helperOf(n.server.Process.Pid)
	t.Cleanup(func() { syscall.Kill(capturer, syscall.SIGKILL) })
	netns.Stop(t, capturer)
	sendSignal(t, n.server.Process.Pid, syscall.SIGKILL)
	n.server.Wait()
	n.server = nil
	n.await("the end of the capturer after a killed server", func() bool { return ended(capturer) })
}
