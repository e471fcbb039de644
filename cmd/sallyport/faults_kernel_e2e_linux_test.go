package main

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/faultcall"
)

// TestNoMemoryForFilters: the kernel has no memory for a socket's filter. A server that
// starts has an error, with its reason. A running one does not open a socket without the
// filter.
func TestNoMemoryForFilters(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(faultyWeb+"[[service]]\nname = \"dns\"\ntype = \"proxy\"\nprotocol = \"udp\"\nlisten = \":5300\"\nupstream = \"127.0.0.1:53\"\nopen_for = \"5s\"\n", "all")
	filters := faultcall.New(t, func(c faultcall.Asked) bool { return c.Arguments[1] == unix.SOL_SOCKET },
		faultcall.Call{Number: unix.SYS_SETSOCKOPT, Argument: 2, Value: unix.SO_ATTACH_FILTER})
	filters.Fail(unix.ENOMEM)
	serve := append(filters.Prefix(), n.path("sallyportd"), "serve", "-c", n.path("gate/sallyportd.toml"))
	out, err := n.try(nil, "timeout", append([]string{"10"}, serve...)...)
	const reason = "setsockopt SO_ATTACH_FILTER: cannot allocate memory"
	if err == nil || !strings.Contains(out, "service web cannot listen on :8080") || !strings.Contains(out, reason) {
		t.Errorf("a start: %v, %s", err, out)
	}
	filters.Heal()
	n.serve(filters.Prefix()...)
	filters.Fail(unix.ENOMEM)
	n.once()
	n.await("the error", func() bool {
		return strings.Contains(n.log(), "open web: "+reason) && strings.Contains(n.log(), "open dns: [::]:5300: listen udp :5300: "+reason)
	})
	if n.reaches(n.client, asClient+":8080") || n.reaches(n.stranger, asStranger+":8080") || strings.Contains(n.log(), "msg=opened") {
		t.Errorf("open without a filter:\n%s", n.log())
	}
	filters.Heal()
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":8080") })
}

// TestNoBuffers: the kernel refuses messages to the firewall with ENOBUFS. The sequence
// opens nothing, and the log has the reason; the next one opens.
func TestNoBuffers(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("stealth = true\n"+fmt.Sprintf(pour, "5s"), "all")
	netlink := faultcall.New(t, faultcall.Netlink, faultcall.Call{Number: unix.SYS_SENDMSG, Argument: -1})
	n.serve(netlink.Prefix()...)
	netlink.Fail(unix.ENOBUFS)
	n.once()
	n.await("the error", func() bool {
		return strings.Contains(n.log(), "failed to open services for an authenticated sequence") && strings.Contains(n.log(), "no buffer space available")
	})
	if n.reaches(n.client, asClient+":5400") || n.reaches(n.stranger, asStranger+":5400") || netlink.Met() == 0 {
		t.Errorf("open without the firewall's answer; %d calls failed", netlink.Met())
	}
	netlink.Heal()
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":5400") })
	if n.reaches(n.stranger, asStranger+":5400") {
		t.Error("open to a stranger")
	}
}

// TestEventsOfTheFirewallLost: the kernel has dropped its notifications (ENOBUFS) while
// another program removes the table. The holder reads the table as soon as it can, and
// makes it again, with the lease.
func TestEventsOfTheFirewallLost(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf(pour, "60s"), "all")
	netlink := faultcall.New(t, faultcall.Netlink, faultcall.Call{Number: unix.SYS_RECVMSG, Argument: -1})
	n.serve(netlink.Prefix()...)
	n.knock("all")
	netlink.Fail(unix.ENOBUFS)
	n.run(nil, "nft", "flush", "ruleset")
	n.await("the error", func() bool { return n.logged("firewall table only partly restored; retrying") > 0 })
	netlink.Heal()
	n.await("the table", func() bool { return n.logged("firewall table was changed by another program; restored") > 0 })
	if n.reaches(n.stranger, asStranger+":5400") {
		t.Error("open to a stranger")
	}
	n.opens(n.client, asClient+":5400") // the lease is not lost
}

// TestNoDescriptors: the server may no longer open a file or socket (EMFILE). The sequence
// opens nothing. When it may, the next one opens, without a new start.
func TestNoDescriptors(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(faultyWeb, "all")
	n.serve()
	pid := n.server.Process.Pid
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}, nil); err != nil {
		t.Fatal(err)
	}
	n.once()
	n.await("the error", func() bool {
		return strings.Contains(n.log(), "failed to open services for an authenticated sequence") && strings.Contains(n.log(), "too many open files")
	})
	// The admin socket cannot accept its reader either, and the log has that as an event.
	n.try(nil, "timeout", "2", n.path("sallyportd"), "status", "-c", n.path("gate/sallyportd.toml"))
	n.await("the event", func() bool { return n.logged("failed to serve the admin socket") > 0 })
	if n.reaches(n.client, asClient+":8080") || n.reaches(n.stranger, asStranger+":8080") {
		t.Error("open")
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":8080") })
	n.run(nil, n.path("sallyportd"), "status", "-c", n.path("gate/sallyportd.toml"))
}
