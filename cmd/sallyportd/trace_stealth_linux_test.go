package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/client"
	"sallyport/verify/schedule"
)

// TestStealthTrace: with stealth, a trace sees a client whose clock is further off than the
// tolerance. A scanner does not find the ports where it listens, during the trace and after
// it: no packet is answered, nor rejected.
func TestStealthTrace(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	const host = "198.51.100.1"
	outside := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "inner", Addresses: []string{host + "/24"}}, outside,
		netns.End{Name: "outer", Addresses: []string{"198.51.100.2/24"}})
	v, guests, path := startWith(t, "stealth = true\n", serviceText("a", "tcp", ":8080", "closed", ""))
	g := guests[0]
	g.profile.Server = host
	socket := filepath.Join(filepath.Dir(path), "sallyportd.sock")
	netns.Until(t, "the admin socket", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, v.log)

	ctx, stop := context.WithCancel(t.Context())
	lines, ended := make(chan admin.TraceLine, 1024), make(chan error, 1)
	go func() {
		ended <- admin.Conn{Socket: socket}.Trace(ctx, admin.Trace{Identifier: g.name(), Seconds: 600}, func(l admin.TraceLine) error {
			lines <- l
			return nil
		})
	}()
	const sees = "it listens at the ports of other minutes too, so that it sees a clock that is off by up to 10 minutes"
	l := <-lines
	if !strings.Contains(l.Text, sees) || strings.Contains(l.Text, "stealth") {
		t.Errorf("started: %s", l.Text)
	}
	// send sends datagrams to a port, and reports whether an answer came, or an ICMP error.
	send := func(port uint16, datagrams ...[]byte) (answered bool) {
		err := outside.Do(func() error {
			c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(host), port).String())
			if err != nil {
				return err
			}
			defer c.Close()
			for _, b := range datagrams {
				if _, err := c.Write(b); errors.Is(err, syscall.ECONNREFUSED) {
					answered = true
				} else if err != nil {
					return err
				}
			}
			c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err = c.Read(make([]byte, 64))
			answered = answered || err == nil || errors.Is(err, syscall.ECONNREFUSED)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return answered
	}
	var late []client.Packet
	netns.Until(t, "the line of a clock that is ahead", func() bool {
		var err error
		if late, err = client.Sequence(g.profile, time.Now().Add(5*time.Minute), 200_000); err != nil {
			t.Fatal(err)
		}
		if send(late[0].Port, late[0].Datagram) {
			t.Error("a knock is answered")
		}
		select {
		case l := <-lines:
			return l.Authenticated && strings.Contains(l.Text, "the client's clock is") && strings.Contains(l.Text, "ahead of this server's; at most 1m0s is accepted")
		default:
			return false
		}
	}, v.log)

	// The probe would see an answer: stealth begins at port 1025.
	netns.Until(t, "a closed port without stealth to answer", func() bool { return send(999, []byte("x")) }, v.log)
	ports, err := schedule.Ports(schedule.Algorithm1, "the port secret", schedule.MinuteOf(time.Now().Add(5*time.Minute)), 2)
	if err != nil {
		t.Fatal(err)
	}
	scan := func(when string) {
		t.Helper()
		other := append([]byte(nil), late[0].Datagram...)
		copy(other[8:], "zzzz")
		for _, port := range []uint16{ports[0], ports[1], 5555, 65535} {
			if send(port, []byte("x"), nil, make([]byte, 48), late[0].Datagram, late[1].Datagram, other) {
				t.Errorf("%s: port %d answers", when, port)
			}
		}
	}
	scan("during the trace")
	stop()
	<-ended
	awaitLog(t, v, fmt.Sprintf(`msg="trace ended" client=%s`, g.name()), 1)
	// Its sockets are closed, and their elements in the firewall have not ended yet.
	scan("after the trace")
	v.stop(t, 1)
}
