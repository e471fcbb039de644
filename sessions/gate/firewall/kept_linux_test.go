package firewall

import (
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// TestKeptWhileTracked: without Cut, a flow outlives its lease for as long as the
// kernel tracks it, to each port of a range. Once the kernel has forgotten it, it
// needs a lease again.
func TestKeptWhileTracked(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.nft(`table inet observer {
		set seen { type inet_service; flags dynamic; size 65535; }
		chain input { type filter hook input priority 50; udp dport 60000-61000 add @seen { th dport }; }
	}`)
	f := w.claim(Config{Ports: []Port{{Protocol: UDP, Port: 60000, Last: 61000}}})
	passes := func(port uint16) bool {
		t.Helper()
		w.run(nil, "flush", "set", "inet", "observer", "seen")
		w.probe(datagram(client4, host4, 4000, port, []byte("?")))
		return len(w.seen()) > 0
	}
	remember := func(seconds string) {
		for _, name := range []string{"udp_timeout", "udp_timeout_stream"} {
			w.write("/proc/sys/net/netfilter/nf_conntrack_"+name, seconds)
		}
	}
	remember("600")
	w.must(f.grant(0, client4, time.Hour))
	for _, port := range []uint16{60000, 60500, 61000} {
		w.answering(nil, port)
		source := w.source // an answer makes the flow established
		w.source = 3999
		if !w.reached(UDP, client4, host4, port) {
			t.Errorf("port %d is closed to a client with a lease", port)
		}
		w.source = source
	}
	if !passes(60002) {
		t.Error("closed to a client with a lease")
	}
	w.must(f.revoke(0, client4))
	for _, port := range []uint16{60000, 60500, 61000} {
		if !passes(port) {
			t.Errorf("port %d: a flow has ended with its lease", port)
		}
	}
	if passes(60001) || passes(60002) {
		t.Error("a flow passes after the lease that is new, or was never answered")
	}
	remember("1")
	passes(60500) // from now on, the kernel remembers it for this long
	netns.Until(t, "the kernel to forget the flow", func() bool { return w.forgets(60500) })
	if passes(60500) {
		t.Error("a forgotten flow passes without a lease")
	}
	if !passes(60000) {
		t.Error("another flow has ended with it")
	}
}

// forgets reports whether the kernel tracks no flow to a UDP port.
func (w *network) forgets(port uint16) bool {
	w.Helper()
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	w.must(err)
	return !slices.ContainsFunc(flows, func(f *netlink.ConntrackFlow) bool {
		return f.Forward.Protocol == byte(UDP) && f.Forward.DstPort == port
	})
}
