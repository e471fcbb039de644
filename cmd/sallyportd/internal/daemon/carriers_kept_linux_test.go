package daemon

import (
	"net/netip"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify/challenge/carrier"
)

// TestKeptForConnection: a lease without an end, of an exchange for a connection, is
// recorded, opens again after a restart, is listed, and is closed by another exchange.
func TestKeptForConnection(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	cert, key := certificateFiles(t, t.TempDir())
	operations := carriedOperation(carriedID, "open_for = \"until-closed\"") + carriedOperation("close-com1", "action = \"close\"")
	for _, restarted := range []bool{false, true} {
		name := "opened"
		if restarted {
			name = "restarted"
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(s *setup) {
				s.stateDir, s.web = dir, "bind = \"connection\"\n"+carrierKeys(cert, key, operations)
			})
			w.until(t, "the zone", func() bool { return w.server.challenge.carriers.zone.now.Load() != nil })
			if !restarted {
				newDialogue(t, carriedID, netip.Addr{}, toZone).byDNS("udp")
			}
			w.until(t, "the lease", func() bool {
				l := w.server.leases()
				return len(l) == 1 && l[0].AnyAddress() && l[0].InForce && l[0].Until == nil && l[0].Client == "com1"
			})
			if kept, err := state.ReadKept(dir); err != nil || len(kept) != 1 || kept[0].Peer != access.AnyAddress {
				t.Fatalf("recorded: %+v, %v", kept, err)
			}
			if !restarted {
				return
			}
			toSite := carrier.ServerOf(carrier.HTTP, siteName)
			newDialogue(t, "close-com1", netip.Addr{}, toSite).byHTTP(w.browser(false), "http://"+siteName, true)
			w.until(t, "the end of the lease", func() bool { return len(w.server.leases()) == 0 })
			w.until(t, "the end of its record", func() bool {
				kept, err := state.ReadKept(dir)
				return err == nil && len(kept) == 0
			})
		})
	}
}
