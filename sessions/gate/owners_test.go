package gate

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// fromAddress is a connection from an address.
type fromAddress struct {
	net.Conn
	from   netip.Addr
	closed *bool
}

func (c fromAddress) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.from, 1024))
}

func (c fromAddress) Close() error {
	*c.closed = true
	return nil
}

// deaf is a listener that never accepts.
type deaf struct{ net.Listener }

func (deaf) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (deaf) Close() error              { return nil }

// TestConnectionsBelongToClients compares a service with a model, over any
// grants, connections, ends of leases and revocations: a revocation ends the
// connections that only this client can have opened, and none that it cannot
// have opened, whatever addresses it had since. A revoked client has no
// connection left.
func TestConnectionsBelongToClients(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := epoch
		time1 := func() time.Time { return now }
		tcp := NewTCP(TCPConfig{
			PrefixLen6: 128, PerAddress: 1 << 20, Clock: clock.Clock{Wall: time1, Monotonic: time1, Boot: time1},
			Handler: holding(nil), Log: slog.New(slog.DiscardHandler),
			ListenFunc: func(string, string) (net.Listener, error) { return deaf{}, nil },
		})
		defer tcp.Close()
		s := NewService(ServiceConfig{
			Name: "web", PrefixLen6: 128, Enforcers: []access.Enforcer{tcp}, Clock: tcp.cfg.Clock, Log: tcp.cfg.Log,
			Policy: LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 2, Anyone: rapid.Bool().Draw(t, "anyone")},
		})
		type connection struct {
			closed *bool
			may    map[wire.Identifier]bool // the clients that can have opened it
			surely wire.Identifier          // the owner, if only one client can be; zero: unknown
		}
		var all []*connection
		drawAddress := func() netip.Addr {
			return netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 4).Draw(t, "address")))
		}
		drawClient := func() wire.Identifier { return client(rapid.IntRange(1, 4).Draw(t, "client")) }
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "pass")) * time.Millisecond)
			s.sweep()
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1:
				g := grant("com1", drawAddress().String())
				g.Identifier = drawClient()
				if err := s.Open(g); err != nil {
					t.Fatal(err)
				}
			case 2, 3, 4:
				from := drawAddress()
				may := map[wire.Identifier]bool{}
				for id, leases := range s.leases.byClient {
					for _, le := range leases {
						if s.terms.Anyone || le.peer == access.PeerOf(from, 128) {
							may[id] = true
						}
					}
				}
				closed := new(bool)
				known, ok := tcp.admit(fromAddress{from: from, closed: closed})
				if ok != (len(may) > 0) {
					t.Fatalf("let in: %v, by %v", ok, may)
				}
				if !ok {
					continue
				}
				c := &connection{closed: closed, may: may}
				if len(may) == 1 {
					c.surely = slices.Collect(maps.Keys(may))[0]
				}
				owners := 0
				known.owners.Each(func(id wire.Identifier) {
					if owners++; !may[id] {
						t.Fatalf("a connection of %s belongs to %s", from, id)
					}
				})
				if owners == 0 {
					t.Fatalf("a connection of %s has no owner", from)
				}
				all = append(all, c)
			default:
				gone := drawClient()
				s.revokeClients(func(id wire.Identifier) bool { return id == gone }, Revoked)
				for _, c := range all {
					if *c.closed && !c.may[gone] {
						t.Fatalf("%s is revoked, and a connection has ended that only %v can have opened", gone, c.may)
					}
					if !*c.closed && c.surely == gone {
						t.Fatalf("%s is revoked, and a connection of it lives", gone)
					}
				}
				all = slices.DeleteFunc(all, func(c *connection) bool { return *c.closed })
				left := map[wire.Identifier]bool{}
				s.addClients(left)
				tcp.Owners(func(id wire.Identifier) { left[id] = true })
				if left[gone] {
					t.Fatalf("%s is revoked, and still has a lease or connection", gone)
				}
			}
		}
	})
}

// TestManyClientsBehindAnAddress: a connection with more possible owners than
// MaxLeaseOwners ends with any of them.
func TestManyClientsBehindAnAddress(t *testing.T) {
	var set access.Set
	var leaseOwners access.LeaseOwners
	p := peer("192.0.2.1")
	for i := range access.MaxLeaseOwners + 1 {
		leaseOwners = append(leaseOwners, access.LeaseOwner{Client: wire.Identifier{byte(i)}, Until: epoch.Add(time.Minute), From: p})
	}
	set.Begin([]access.Change{{Peer: p, Until: epoch.Add(time.Minute), LeaseOwners: &leaseOwners}})
	owners, ok := set.Enter(p.Prefix.Addr(), epoch)
	nobody := func(wire.Identifier) bool { return false }
	if !ok || !owners.Lose(nobody, true) || owners.Lose(nobody, false) {
		t.Errorf("%v, %v", owners, ok)
	}
}
