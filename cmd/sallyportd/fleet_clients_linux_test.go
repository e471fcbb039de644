package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// fleetAttempt is an attempt of an honest client, which the attacker has captured.
type fleetAttempt struct {
	number  int // its addresses
	guest   *guest
	base    uint32
	packets []client.Packet
}

// from is the address of the client, and attacker the one from which it is replayed.
func (a *fleetAttempt) from() string { return fmt.Sprintf("198.18.%d.%d", a.number>>8, a.number&0xff) }
func (a *fleetAttempt) attacker() string {
	return fmt.Sprintf("198.19.%d.%d", a.number>>8, a.number&0xff)
}

// knock sends a new attempt to a gateway.
func (w *fleetWorld) knock(t *testing.T, g *fleetGateway, one *guest) *fleetAttempt {
	t.Helper()
	a := w.prepare(t, one)
	a.send(t, a.from(), g)
	return a
}

func (w *fleetWorld) prepare(t *testing.T, one *guest) *fleetAttempt {
	t.Helper()
	base, _, err := one.nonces.Reserve(t.Context(), one.name(), one.profile.Ports, one.now())
	if err != nil {
		t.Fatal(err)
	}
	packets, err := client.Sequence(one.profile, one.now(), base)
	if err != nil {
		t.Fatal(err)
	}
	a := &fleetAttempt{len(w.sent) + 1, one, base, packets}
	w.sent = append(w.sent, a)
	return a
}

func (a *fleetAttempt) send(t *testing.T, from string, g *fleetGateway) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, p := range a.packets {
		// A process that has ended leaves ICMP errors.
		c.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(netip.MustParseAddr(g.address), p.Port))
	}
}

// replayed is how many attempts the attacker sends again: the last ones. The queue of a
// socket holds some hundred datagrams.
const replayed = 60

// replay sends the last attempts to each gateway, wherever they were sent before.
func (w *fleetWorld) replay(t *testing.T) {
	t.Helper()
	for _, a := range w.sent[max(0, len(w.sent)-replayed):] {
		for _, g := range w.gateways {
			a.send(t, a.attacker(), g)
		}
	}
}

// crowd makes some clients knock at some gateways.
func (w *fleetWorld) crowd(t *testing.T) {
	t.Helper()
	for range 4 {
		w.knock(t, w.anyGateway(), w.anyGuest())
	}
}

func (w *fleetWorld) anyGuest() *guest { return w.guests[w.chance.IntN(len(w.guests))] }

// getIn knocks at a gateway until it opens its service, and then uses the service. Each
// attempt that has failed stays with the attacker.
func (w *fleetWorld) getIn(t *testing.T, g *fleetGateway) *fleetAttempt {
	t.Helper()
	return w.getInAs(t, g, w.anyGuest())
}

func (w *fleetWorld) getInAs(t *testing.T, g *fleetGateway, one *guest) *fleetAttempt {
	t.Helper()
	var all []*fleetAttempt
	var got *fleetAttempt
	looks := 0
	netns.Until(t, fmt.Sprintf("a client gets in at gateway %d", g.number), func() bool {
		if looks%100 == 0 {
			all = append(all, w.knock(t, g, one))
		}
		looks++
		for _, a := range all {
			if g.opened("local", a.from()) > 0 {
				got = a
			}
		}
		return got != nil
	}, w.logs)
	if !serves(got.from(), g, 8080, time.Minute) {
		t.Errorf("gateway %d has opened its service for %s, which gets no answer\n%s", g.number, got.from(), w.logs())
	}
	return got
}

// getInEverywhere is getIn, and waits for the shared service at the given gateways.
func (w *fleetWorld) getInEverywhere(t *testing.T, g *fleetGateway, at []*fleetGateway) *fleetAttempt {
	t.Helper()
	a := w.getIn(t, g)
	looks := 0
	netns.Until(t, "the shared service opens everywhere", func() bool {
		if looks++; looks%500 == 0 { // the grant may have been lost with its key
			a = w.getIn(t, g)
		}
		return !slices.ContainsFunc(at, func(g *fleetGateway) bool { return g.opened("shared", a.from()) == 0 })
	}, w.logs)
	for _, other := range at {
		if !serves(a.from(), other, 8081, time.Minute) {
			t.Errorf("gateway %d has opened the shared service for %s, which gets no answer\n%s", other.number, a.from(), w.logs())
		}
	}
	return a
}

// opened counts how often a gateway has opened a service for an address.
func (g *fleetGateway) opened(service, address string) (n int) {
	for line := range strings.Lines(g.log()) {
		if strings.Contains(line, "msg=opened service="+service+" ") && strings.Contains(line, " address="+address+" ") {
			n++
		}
	}
	return n
}

// serves reports whether a service answers a request from an address.
func serves(from string, g *fleetGateway, port int, patience time.Duration) bool {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp4", net.JoinHostPort(g.address, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	defer c.Close()
	return answers(c, patience)
}

// answers reports whether there is an answer to a request on a connection.
func answers(c net.Conn, patience time.Duration) bool {
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET /test1.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	text, err := io.ReadAll(c)
	return err == nil && strings.HasPrefix(string(text), "HTTP/1.1 "+fmt.Sprint(http.StatusOK))
}

func (w *fleetWorld) logs() string {
	var all []string
	for _, g := range w.gateways {
		all = append(all, fmt.Sprintf("gateway %d:\n%s", g.number, g.log()))
	}
	return strings.Join(all, "\n")
}
