package gate

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// lockedBuffer is a log that a test reads while the gate writes it.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *lockedBuffer) count(text string) int { return strings.Count(b.String(), text) }

// admitting is an enforcer that counts the peers that it admits: the firewall,
// which follows the enforcer of the port.
type admitting struct {
	mu  sync.Mutex
	set access.Set
}

func (a *admitting) Apply(changes []access.Change) []error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set.Begin(changes)
	return nil
}

func (a *admitting) Close() error { return nil }

func (a *admitting) admits() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set.Len() > 0
}

// portService is a gate of one service whose port is bound by Prepare.
type portService struct {
	*Services
	log      *lockedBuffer
	firewall *admitting
	upstream net.PacketConn
}

func newPortService(t *testing.T, network, listen string, filtered, anyone bool) portService {
	p := portService{log: &lockedBuffer{}, firewall: &admitting{}}
	log := slog.New(slog.NewTextHandler(p.log, nil))
	var own access.Enforcer
	var prepare func() error
	if network == "tcp" {
		tcp := NewTCP(TCPConfig{Listen: listen, Filtered: filtered, PrefixLen6: 128, PerAddress: 4, Handler: NewWeb(Content{Handler: Pages()}, log), Clock: clock.System(), Log: log})
		own, prepare = tcp, tcp.Prepare
	} else {
		var err error
		if p.upstream, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.upstream.Close() })
		go echoAll(p.upstream)
		udp := NewUDP(UDPConfig{Listen: listen, Filtered: filtered, PrefixLen6: 128,
			Relay: relay.UDPConfig{Upstream: relay.Upstream(p.upstream.LocalAddr().String()), PerAddress: 4, Log: log}, Clock: clock.System(), Log: log})
		own, prepare = udp, udp.Prepare
	}
	service := NewService(ServiceConfig{
		Name: "web", PrefixLen6: 128, Policy: LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Anyone: anyone, Addresses: 8},
		Enforcers: []access.Enforcer{own, p.firewall}, Prepare: prepare, Clock: clock.System(), Log: log,
	})
	var err error
	if p.Services, err = NewServices([]*Service{service}, nil); err != nil {
		t.Fatal(err)
	}
	p.BindPorts()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return p
}

func echoAll(c net.PacketConn) {
	buffer := make([]byte, 64)
	for {
		n, from, err := c.ReadFrom(buffer)
		if err != nil {
			return
		}
		c.WriteTo(buffer[:n], from)
	}
}

func (p portService) open(t *testing.T, from string) {
	t.Helper()
	for _, err := range p.Open([]sessions.Grant{{Identifier: wire.Identifier([]byte("abcd")), Address: netip.MustParseAddr(from)}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// answers reports whether the service answers at an address.
func answers(network, address string) bool {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 64))
	return err == nil
}

// TestServiceWaitsForItsPort: while another program has the port, the service
// stays closed, in the firewall too, which would let the peer reach that program.
// When the port is free, a lease that is in force opens the service.
func TestServiceWaitsForItsPort(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	for _, network := range []string{"tcp", "udp"} {
		for _, filtered := range []bool{false, true} {
			t.Run(network+" filtered "+map[bool]string{true: "yes", false: "no"}[filtered], func(t *testing.T) {
				release := take(t, network)
				p := newPortService(t, network, ":8080", filtered, false)
				if p.log.count("service port unavailable") != 1 {
					t.Error("the log does not name the port")
				}
				p.open(t, "127.0.0.1")
				if p.firewall.admits() || p.log.count("msg=opened") > 0 || len(p.Names(wire.Identifier([]byte("abcd")))) > 0 {
					t.Error("open, while another program has the port")
				}
				if p.log.count("lease waits for the service port") != 1 {
					t.Error("the log does not name the lease")
				}
				release()
				netns.Until(t, "opens", func() bool { return answers(network, "127.0.0.1:8080") })
				// The firewall and the log follow.
				netns.Until(t, "the firewall opens", p.firewall.admits)
				netns.Until(t, "the line about the port", func() bool { return p.log.count("service port bound on retry") > 0 }, p.log.String)
				if p.log.count("service port unavailable") != 1 || p.log.count("service port bound on retry") != 1 {
					t.Errorf("the log: %s", p.log)
				}
			})
		}
	}
}

// take takes port 8080 as another program does.
func take(t *testing.T, network string) (release func()) {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", ":8080")
		if err != nil {
			t.Fatal(err)
		}
		return func() { c.Close() }
	}
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	return func() { l.Close() }
}

// TestInterfaceComesLater: a service at a link-local address waits for the
// interface, and follows one that was replaced; leases in force open it.
func TestInterfaceComesLater(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, network := range []string{"tcp", "udp"} {
		for _, filtered := range []bool{false, true} {
			t.Run(network+" filtered "+map[bool]string{true: "yes", false: "no"}[filtered], func(t *testing.T) {
				const listen = "[fe80::1%eth9]:8080"
				p := newPortService(t, network, listen, filtered, true)
				p.open(t, "fe80::1")
				for i := 1; i <= 2; i++ {
					if p.firewall.admits() {
						t.Error("open without the interface")
					}
					netns.Until(t, "the log names it", func() bool { return p.log.count("service port unavailable") == i })
					link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth9"}, PeerName: "eth9peer"}
					if err := netlink.LinkAdd(link); err != nil {
						t.Fatal(err)
					}
					if err := netlink.LinkSetUp(link); err != nil {
						t.Fatal(err)
					}
					address, _ := netlink.ParseAddr("fe80::1/64")
					address.Flags = 0x02 // nodad
					if err := netlink.AddrAdd(link, address); err != nil {
						t.Fatal(err)
					}
					// Package net caches the index of the interface.
					at := fmt.Sprintf("[fe80::1%%%d]:8080", link.Attrs().Index)
					netns.Until(t, "opens", func() bool { return answers(network, at) })
					netns.Until(t, "the firewall opens", p.firewall.admits)
					if err := netlink.LinkDel(link); err != nil {
						t.Fatal(err)
					}
					netns.Until(t, "closes", func() bool { return !p.firewall.admits() })
				}
			})
		}
	}
}
