package gate

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// udpStage is a service that leads to an echo.
func udpStage(t *testing.T, terms LeasePolicy, idle time.Duration, c clock.Clock) (*Service, *UDP, string) {
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
	d := NewUDP(UDPConfig{Listen: address, PrefixLen6: 128, Clock: c, Log: log, Relay: relay.UDPConfig{Upstream: relay.Upstream(echo.LocalAddr().String()), Idle: idle, PerAddress: 8, Log: log}})
	t.Cleanup(func() { d.Close(); echo.Close() })
	s := NewService(ServiceConfig{Name: "udp", PrefixLen6: 128, Policy: terms, Enforcers: []access.Enforcer{d}, Clock: c, Log: log})
	return s, d, address
}

// udpClient is a socket of an address.
func udpClient(t *testing.T, from, to string) *net.UDPConn {
	t.Helper()
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answered sends until it gets an answer.
func answered(t *testing.T, what string, c *net.UDPConn) {
	t.Helper()
	netns.Until(t, "an answer: "+what, func() bool { return asked(c) })
}

// silent sends twice: without a flow there is no answer, however long it waits.
func silent(c *net.UDPConn) bool {
	for range 2 {
		if asked(c) {
			return false
		}
	}
	return true
}

var questions atomic.Uint32

// asked sends once, and waits a moment for the answer to that.
func asked(c *net.UDPConn) bool {
	question := binary.BigEndian.AppendUint32(nil, questions.Add(1))
	c.Write(question)
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	b := make([]byte, 10)
	for {
		n, err := c.Read(b)
		if err != nil || bytes.Equal(b[:n], question) {
			return err == nil
		}
	}
}

func TestUDP(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, cut := range []bool{true, false} {
		terms := LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Cut: cut, Addresses: 8}
		s, d, address := udpStage(t, terms, time.Minute, system)
		if !silent(udpClient(t, "127.0.0.1", address)) {
			t.Fatal("answered without a lease")
		}
		if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
			t.Fatal(err)
		}
		mine, stranger := udpClient(t, "127.0.0.1", address), udpClient(t, "127.0.0.2", address)
		answered(t, "to the one with a lease", mine)
		if !silent(stranger) {
			t.Error("a stranger is answered")
		}
		// The lease ends at its time.
		s.mu.Lock()
		s.expire(system.Boot().Add(2*time.Hour), expired)
		s.mu.Unlock()
		if !cut {
			answered(t, "to a flow from before", mine)
		} else if !silent(mine) {
			t.Error("cut, and a flow from before is answered")
		}
		if !silent(udpClient(t, "127.0.0.1", address)) || !silent(stranger) {
			t.Errorf("cut %v: a new flow is answered", cut)
		}
		// A client that is revoked later loses that, too.
		s.update(t, terms, func(wire.Identifier) bool { return false })
		d.mu.Lock()
		there := d.conn != nil
		d.mu.Unlock()
		if there || !silent(mine) {
			t.Errorf("cut %v: after the revocation the socket is there: %v", cut, there)
		}
	}
}

// TestUDPSocketOutlivesItsLease: the socket stays until the last flow is idle.
func TestUDPSocketOutlivesItsLease(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s, d, address := udpStage(t, LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Addresses: 8}, 300*time.Millisecond, system)
	d.linger = 50 * time.Millisecond
	if err := s.Open(grant("com1", "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	answered(t, "within the lease", udpClient(t, "127.0.0.1", address))
	s.mu.Lock()
	s.expire(system.Boot().Add(2*time.Hour), expired)
	s.mu.Unlock()
	netns.Until(t, "the end of the socket", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.conn == nil
	})
}
