package program

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// TestLeaseFile: container/lease-file has a file for each lease, also of one client and
// address, until its own end, and after a crash.
func TestLeaseFile(t *testing.T) {
	var open, closing []Request
	synctest.Test(t, func(t *testing.T) {
		c := newCommandsTest()
		at := netip.MustParseAddr("192.0.2.1")
		begin := func(change func(*gate.CommandLease)) {
			l := gate.CommandLease{Client: wire.Identifier([]byte("com1")), Address: at, Peer: access.PeerOf(at, access.PrefixHost)}
			change(&l)
			if _, err := c.For("both").Begin(l, func(error) {}); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		for _, change := range []func(*gate.CommandLease){
			func(l *gate.CommandLease) { l.Peer.Port, l.Port = 10001, 10001 }, // two minutes of a drawn port
			func(l *gate.CommandLease) { l.Peer.Port, l.Port = 10002, 10002 },
			func(l *gate.CommandLease) { l.Peer.ISN = 1 }, // two sequences with bind = "isn"
			func(l *gate.CommandLease) { l.Peer.ISN = 2 },
		} {
			begin(change)
		}
		for _, run := range c.fakes.runs {
			open = append(open, run.request)
		}
		for _, lease := range c.disk.content { // those of a crash
			closing = append(closing, Request{Env: Environment(eventClose, reasonCrash, lease)})
		}
		c.finish()
	})
	dir := t.TempDir()
	run := func(r Request) (files int) {
		t.Helper()
		command := exec.Command("sh", "../../../container/lease-file", dir)
		command.Env = r.Env
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if !strings.HasPrefix(f.Name(), "both,") || !strings.HasSuffix(f.Name(), ",192.0.2.1") {
				t.Errorf("file %s", f.Name())
			}
		}
		return len(list)
	}
	for i, r := range open {
		if n := run(r); n != i+1 {
			t.Errorf("%d files of %d leases", n, i+1)
		}
	}
	for i, r := range closing {
		if n := run(r); n != len(open)-i-1 {
			t.Errorf("%d files of %d leases, after %d have ended", n, len(open), i+1)
		}
	}
	if len(open) != 4 || len(closing) != 4 {
		t.Errorf("%d opening and %d closing commands", len(open), len(closing))
	}
}
