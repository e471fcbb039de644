package gate

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// udpStage is a service that leads to an echo.
func udpStage(t *testing.T, terms Terms, idle time.Duration, c clock.Clock) (*Service, *UDP, string) {
	t.Helper()
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			echo.WriteTo(b[:n], from)
		}
	}()
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	free.Close()
	log := slog.New(slog.DiscardHandler)
	d := NewUDP(UDPConfig{Listen: address, PrefixLen6: 128, Clock: c, Log: log, Relay: relay.UDPConfig{Upstream: echo.LocalAddr().String(), Idle: idle, PerAddress: 8, Log: log}})
	t.Cleanup(func() { d.Close(); echo.Close() })
	s := NewService(ServiceConfig{Name: "udp", PrefixLen6: 128, Terms: terms, Enforcers: []access.Enforcer{d}, Clock: c, Log: log})
	return s, d, address
}

// talker is a socket of an address.
func talker(t *testing.T, from, to string) *net.UDPConn {
	t.Helper()
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answered asks a few times, as datagrams may be lost.
func answered(c *net.UDPConn) bool {
	for range 5 {
		c.Write([]byte("?"))
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(make([]byte, 10)); err == nil && n == 1 {
			return true
		}
	}
	return false
}

func TestUDP(t *testing.T) {
	for _, cut := range []bool{true, false} {
		terms := Terms{OpenFor: time.Hour, OpenMax: time.Hour, Cut: cut, Addresses: 8}
		s, d, address := udpStage(t, terms, time.Minute, system)
		if answered(talker(t, "127.0.0.1", address)) {
			t.Fatal("answered without a lease")
		}
		if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		mine, stranger := talker(t, "127.0.0.1", address), talker(t, "127.0.0.2", address)
		if !answered(mine) || answered(stranger) {
			t.Error("answered: the wrong one")
		}
		// The lease ends as it does by itself.
		s.mu.Lock()
		s.ended(s.leases.Expire(system.Boot().Add(2*time.Hour)), terms.Cut)
		s.mu.Unlock()
		if got := answered(mine); got == cut {
			t.Errorf("cut %v: a flow from before is answered: %v", cut, got)
		}
		if answered(talker(t, "127.0.0.1", address)) || answered(stranger) {
			t.Errorf("cut %v: a new flow is answered", cut)
		}
		// Who is revoked later loses that, too.
		s.update(t, terms, func(wire.Identifier) bool { return false })
		d.mu.Lock()
		there := d.conn != nil
		d.mu.Unlock()
		if there || answered(mine) {
			t.Errorf("cut %v: after the revocation the socket is there: %v", cut, there)
		}
	}
}

// TestUDPSocketOutlivesItsLease: until the last flow is idle.
func TestUDPSocketOutlivesItsLease(t *testing.T) {
	s, d, address := udpStage(t, Terms{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8}, 300*time.Millisecond, system)
	if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	if !answered(talker(t, "127.0.0.1", address)) {
		t.Fatal("not answered")
	}
	s.mu.Lock()
	s.ended(s.leases.Expire(system.Boot().Add(2*time.Hour)), false)
	s.mu.Unlock()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		d.mu.Lock()
		there := d.conn != nil
		d.mu.Unlock()
		if !there {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the socket is still there")
		}
	}
}
