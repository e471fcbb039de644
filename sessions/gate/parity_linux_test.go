package gate

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/access/accesstest"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
	"sallyport/sessions/gate/relay"
	"sallyport/sessions/gate/sockfilter"
)

// links are two links from this host to one outside, which has all sources of
// the parity table and one that is always admitted.
type links struct {
	*testing.T
	outside *netns.Host
	links   *strings.Replacer // the table's links -> this host's
}

const parityPort = 4700

var (
	always = netip.MustParseAddr("203.0.113.9") // in no network of the table
	here4  = netip.MustParseAddr("198.51.100.1")
)

func newStreets(t *testing.T) *links {
	s := &links{T: t, outside: netns.NewHost(t)}
	netns.Connect(t,
		netns.End{Name: "in1", Addresses: []string{"198.51.100.1/24", "203.0.113.1/24", "2001:db8::1/64", "2001:db8:0:1::1/64", "fe80::1/64"}}, s.outside,
		netns.End{Name: "out1", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "203.0.113.9/24", "2001:db8::2/64", "2001:db8::3/64", "2001:db8:0:1::2/64", "fe80::2/64", "fe80::3/64"}})
	netns.Connect(t, netns.End{Name: "in2", Addresses: []string{"fe80::1/64"}}, s.outside, netns.End{Name: "out2", Addresses: []string{"fe80::2/64"}})
	var zones []string
	for i, name := range []string{"in1", "in2"} {
		link, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, []string{accesstest.Link1, accesstest.Link2}[i], strconv.Itoa(link.Index))
	}
	s.links = strings.NewReplacer(zones...)
	s.settle()
	return s
}

// settle waits until every source is received: the kernel uses a link some time
// after it is up.
func (s *links) settle() {
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: parityPort})
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	for _, source := range accesstest.Sources {
		netns.Until(s.T, source.String()+" is heard", func() bool { return s.heard(c, source) })
	}
}

// from returns the outside address of a source, and the destination.
func (s *links) from(source netip.Addr) (local, to netip.AddrPort) {
	here := here4
	switch {
	case source.Is6() && source.IsLinkLocalUnicast():
		street := map[string]string{accesstest.Link1: "out1", accesstest.Link2: "out2"}[source.Zone()]
		source, here = source.WithZone(street), netip.MustParseAddr("fe80::1").WithZone(street)
	case source.Is6():
		prefix, _ := source.Prefix(64)
		here = prefix.Addr().Next()
	}
	return netip.AddrPortFrom(source, 0), netip.AddrPortFrom(here, parityPort)
}

// sendBoth sends a datagram from a source, and then one from the source that is
// always admitted, the same way: by one processor, so that they arrive in this
// order.
func (s *links) sendBoth(source netip.Addr) {
	s.Helper()
	err := s.outside.Do(func() error {
		var before, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &before); err != nil {
			return err
		}
		for cpu := range 1024 {
			if before.IsSet(cpu) {
				one.Set(cpu)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		for _, a := range []netip.Addr{source, always} {
			local, to := s.from(a)
			c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(local), net.UDPAddrFromAddrPort(to))
			if err != nil {
				return err
			}
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			c.Close()
		}
		return nil
	})
	if err != nil {
		s.Fatalf("from %s: %v", source, err)
	}
}

// heard reports whether a socket receives a source before the one that is
// always admitted.
func (s *links) heard(c *net.UDPConn, source netip.Addr) (in bool) {
	s.Helper()
	s.sendBoth(source)
	for {
		c.SetReadDeadline(netns.Deadline(s))
		_, from, err := c.ReadFromUDPAddrPort(make([]byte, 10))
		switch {
		case err != nil:
			s.Fatalf("from %s: %v", source, err)
		case from.Addr().Unmap() == always:
			return in
		}
		in = in || from.Addr().Unmap().WithZone("") == source.WithZone("")
	}
}

// peersOf returns the peers that a row admits on these links, and the one that
// is always admitted.
func (s *links) peersOf(r accesstest.Row) []access.Peer {
	if r.Anyone {
		return r.Peers()
	}
	r.Grant = s.links.Replace(r.Grant)
	return append(r.Peers(), access.PeerIn(always, r.PrefixLen4, r.PrefixLen6))
}

func (s *links) apply(e access.Enforcer, r accesstest.Row, id access.ServiceID, until time.Time) {
	s.Helper()
	var changes []access.Change
	for _, p := range s.peersOf(r) {
		changes = append(changes, access.Change{Service: id, Peer: p, Until: until, Cut: until.IsZero()})
	}
	for _, err := range e.Apply(changes) {
		if err != nil {
			s.Fatalf("%s: %v", r.Name, err)
		}
	}
}

// TestEnforcersAgree runs the table through real sockets and rules.
func TestEnforcersAgree(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := newStreets(t)
	t.Run("socket filter", func(t *testing.T) { s.socketFilter(t) })
	t.Run("listener", func(t *testing.T) { s.listener(t) })
	t.Run("UDP", func(t *testing.T) { s.udp(t) })
	t.Run("firewall", func(t *testing.T) { s.firewall(t) })
}

func (s *links) socketFilter(t *testing.T) {
	s.T = t
	for _, r := range accesstest.Rows {
		c, err := listenPacketDenyAll("[::]:" + strconv.Itoa(parityPort))
		if err != nil {
			t.Fatal(err)
		}
		var in access.Set
		for _, p := range s.peersOf(r) {
			in.Add(p)
		}
		if err := new(filterState).apply(c, in.Len(), func() sockfilter.Set { return filterSet(&in) }); err != nil {
			t.Fatal(err)
		}
		for _, source := range accesstest.Sources {
			if got := s.heard(c, source); got != r.HasOnAnyLink(source) {
				t.Errorf("%s: %s is let in: %v", r.Name, source, got)
			}
		}
		c.Close()
	}
}

// listener has no filter: strangers' connections reach it and are reset.
func (s *links) listener(t *testing.T) {
	s.T = t
	for _, r := range accesstest.Rows {
		hold := make(chan net.Conn, 1)
		l := NewTCP(TCPConfig{
			Listen: "[::]:" + strconv.Itoa(parityPort), PrefixLen4: r.PrefixLen4, PrefixLen6: r.PrefixLen6, PerAddress: 64, Handler: holding(hold), Clock: system,
			Log: slog.New(slog.DiscardHandler), ListenFunc: func(network, address string) (net.Listener, error) {
				l, err := net.Listen(network, address)
				return struct{ net.Listener }{l}, err
			},
		})
		s.apply(l, r, access.ServiceID{}, system.Boot().Add(time.Hour))
		for _, source := range accesstest.Sources {
			var c net.Conn
			err := s.outside.Do(func() (err error) {
				local, to := s.from(source)
				c, err = net.DialTCP("tcp", net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(to))
				return err
			})
			if errors.Is(err, unix.ECONNRESET) { // before the connection is reported
				if r.Has(source) {
					t.Errorf("%s: %s is reset", r.Name, source)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			reset := make(chan bool, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				reset <- err != nil
			}()
			var got bool
			select {
			case <-hold:
				got = true
			case <-reset:
			}
			if c.Close(); got != r.Has(source) {
				t.Errorf("%s: %s is let in: %v", r.Name, source, got)
			}
		}
		l.Close()
	}
}

func (s *links) udp(t *testing.T) {
	s.T = t
	upstream, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	for _, r := range accesstest.Rows {
		u := NewUDP(UDPConfig{
			Listen: "[::]:" + strconv.Itoa(parityPort), PrefixLen4: r.PrefixLen4, PrefixLen6: r.PrefixLen6, Clock: system, Log: slog.New(slog.DiscardHandler),
			Relay: relay.UDPConfig{Upstream: relay.Upstream(upstream.LocalAddr().String())},
		})
		s.apply(u, r, access.ServiceID{}, system.Boot().Add(time.Hour))
		for _, source := range accesstest.Sources {
			s.sendBoth(source)
			// One goroutine reads: after the second flow exists, the first
			// exists, or never will.
			for !peersHave(u, always) {
				upstream.SetReadDeadline(netns.Deadline(t))
				if _, _, err := upstream.ReadFrom(make([]byte, 10)); err != nil {
					t.Fatalf("%s: %s: %v", r.Name, source, err)
				}
			}
			if got := u.relay.Flows() == 2; got != r.Has(source) {
				t.Errorf("%s: %s is let in: %v", r.Name, source, got)
			}
			u.relay.Cut(func(netip.Addr, time.Time) bool { return true })
		}
		u.Close()
	}
}

func peersHave(u *UDP, a netip.Addr) bool {
	for _, p := range u.relay.Peers() {
		if p == a {
			return true
		}
	}
	return false
}

func (s *links) firewall(t *testing.T) {
	s.T = t
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: parityPort})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, r := range accesstest.Rows {
		id := access.ID("udp")
		table, err := firewall.Claim(firewall.Config{Ports: []firewall.Port{{Service: id, Protocol: firewall.UDP, Port: parityPort, Cut: true, PrefixLen4: r.PrefixLen4}}}, firewall.Owner{}, false, system)
		if err != nil {
			t.Fatal(err)
		}
		policy := holder.Policy{Services: []holder.Service{{ID: id, Name: "udp", OpenMax: time.Hour, PrefixLen4: r.PrefixLen4, PrefixLen6: r.PrefixLen6, Anyone: r.Anyone}}}
		client, ended := holdertest.Start(t, holder.Config{Policy: policy, Claim: holder.Claimed(table), Clock: system})
		s.apply(holder.NewEnforcer(client), r, id, system.Boot().Add(time.Hour))
		for _, source := range accesstest.Sources {
			if got := s.heard(c, source); got != r.HasOnAnyLink(source) {
				t.Errorf("%s: %s is let in: %v", r.Name, source, got)
			}
		}
		holdertest.Stop(t, client, ended)
	}
}
