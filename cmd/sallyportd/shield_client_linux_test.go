package main

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// grantedKnocks is a sequence of a client that got in.
type grantedKnocks struct {
	packets []client.Packet
	at      time.Time // of the host
}

// enter lets the client library knock from another address than before, with all of its
// retries, until the service answers. It returns the sequences that it has sent.
func (w *shieldWorld) enter(t *testing.T, what string, v *victim, g *guest) (sent []grantedKnocks) {
	t.Helper()
	from := w.address()
	err := w.there.Do(func() error {
		if err := leaveFrom(from); err != nil {
			return err
		}
		profile := g.profile
		profile.Service = ":8080"
		_, err := client.Knock(t.Context(), client.Config{
			Profile: profile, Nonces: g.nonces, Now: g.now,
			Report: func(e client.Event) {
				if s, ok := e.(client.Sent); ok {
					w.knocks.Add(uint64(len(s.Packets)))
					sent = append(sent, grantedKnocks{s.Packets, time.Now()})
				}
			},
		})
		return err
	})
	if err != nil {
		t.Fatalf("%s: client %s does not get in: %v\n%v\n%s", what, g.name(), err, traffic(t, w.dir), v.log())
	}
	netns.Until(t, what+": the log has the grant for "+from, func() bool { return v.has(from) }, v.log)
	return sent
}

// leaveFrom chooses the source address for packets to the server, in the thread's
// namespace.
func leaveFrom(address string) error {
	l, err := netlink.LinkByName("cli")
	if err != nil {
		return err
	}
	_, network, err := net.ParseCIDR(shieldHost + "/24")
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: l.Attrs().Index, Dst: network, Src: net.ParseIP(address), Scope: netlink.SCOPE_LINK, Protocol: 2, // of the kernel
	})
}
