package gate

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// freePort returns an unused port.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func at(port uint16) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))) }

// dialFrom connects from an address, until a time.
func dialFrom(from string, port uint16, end time.Time) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Deadline: end}
	return d.Dial("tcp", at(port))
}

// replyAtEOF is an upstream that answers after the client's end of file.
func replyAtEOF(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if said, err := io.ReadAll(c); err == nil {
					c.Write(append([]byte("heard "), said...))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestRandomPortOfTCP(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	log := slog.New(slog.DiscardHandler)
	upstream := replyAtEOF(t)
	proxy := NewProxy(relay.TCP{Upstream: relay.Upstream(upstream)}, log)
	viaProxy := func(t *testing.T, c net.Conn) {
		io.WriteString(c, "all")
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "heard all" || err != nil {
			t.Errorf("answered %q, %v", b, err)
		}
	}
	ownPort := at(freePort(t))
	for name, service := range map[string]struct {
		listen string
		server Handler
		wrap   func(PortOpener) access.Enforcer
		use    func(*testing.T, net.Conn)
	}{
		"web": {ownPort, NewWeb(Content{Handler: Pages()}, log), nil, func(t *testing.T, c net.Conn) {
			if got := get(c, "/test1.html"); got != 200 {
				t.Errorf("status %d", got)
			}
		}},
		"proxy": {ownPort, proxy, nil, viaProxy},
		// Another enforcer guards it: here another program listens.
		"firewall": {upstream, proxy, PortsOnly, viaProxy},
	} {
		t.Run(name, func(t *testing.T) {
			tcp := NewTCP(TCPConfig{Listen: service.listen, PrefixLen6: 128, Clock: system, PerAddress: 8, Handler: service.server, Log: log})
			enforcer := access.Enforcer(tcp)
			if service.wrap != nil {
				enforcer = service.wrap(tcp)
			}
			s := serviceOf(name, 128, enforcer)
			defer s.close()
			port := freePort(t)
			if err := s.Execute(Command{Grant: grant("#001", "127.0.0.1"), Port: port, For: time.Hour}); err != nil {
				t.Fatal(err)
			}
			tcp.mu.Lock()
			if tcp.listener != nil {
				t.Error("the service's own port is open")
			}
			tcp.mu.Unlock()
			// The kernel lets the stranger wait, or, where the process may not
			// set the filter, the enforcer resets the connection.
			if stranger, err := dialFrom("127.0.0.2", port, time.Now().Add(200*time.Millisecond)); err == nil {
				if n, err := stranger.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("a stranger read %d bytes, %v", n, err)
				}
				stranger.Close()
			}
			c, err := dialFrom("127.0.0.1", port, netns.Deadline(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			service.use(t, c)
			if again, err := dialFrom("127.0.0.1", port, netns.Deadline(t)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a second connection: %v, %v", again, err)
			}
			// A lease admits its connections separately.
			if err := s.Open(grant("#001", "127.0.0.1")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRandomPortThatIsTaken(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	log := slog.New(slog.DiscardHandler)
	d := NewTCP(TCPConfig{Listen: at(freePort(t)), PrefixLen6: 128, Clock: system, PerAddress: 8, Handler: NewWeb(Content{Handler: Pages()}, log), Log: log})
	u := NewUDP(UDPConfig{Listen: at(freePort(t)), PrefixLen6: 128, Clock: system, Log: log, Relay: relay.UDPConfig{Upstream: "127.0.0.1:9"}})
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	mute, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for name, c := range map[string]struct {
		opener PortOpener
		taken  net.Addr
	}{"tcp": {d, other.Addr()}, "udp": {u, mute.LocalAddr()}} {
		s := serviceOf(name, 128, c.opener)
		defer s.close()
		port := netip.MustParseAddrPort(c.taken.String()).Port()
		if err := s.Execute(Command{Grant: grant("#001", "127.0.0.1"), Port: port}); !errors.Is(err, ErrPortTaken) {
			t.Errorf("%s: %v", name, err)
		}
		if len(s.ports) != 0 || s.leases.Len() != 0 {
			t.Errorf("%s: something is open", name)
		}
		// The port of an earlier command is announced to one exchange: no other
		// one ends it.
		port = freePort(t)
		first := s.Execute(Command{Grant: grant("#001", "127.0.0.1"), Port: port})
		again := s.Execute(Command{Grant: grant("#001", "127.0.0.1"), Port: port})
		if first != nil || !errors.Is(again, ErrPortTaken) || len(s.ports) != 1 || s.ports[0].State() != PortWaiting {
			t.Errorf("%s: %v, %v, %d ports", name, first, again, len(s.ports))
		}
	}
}

// slowHandler accepts nothing until it is released.
type slowHandler struct {
	Handler
	release chan struct{}
}

func (h slowHandler) Serve(l net.Listener) error {
	<-h.release
	return h.Handler.Serve(l)
}

// TestRandomPortInTheBacklog: a port whose connection the kernel has accepted, and
// the enforcer has not, is not taken away from its client.
func TestRandomPortInTheBacklog(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	log := slog.New(slog.DiscardHandler)
	h := slowHandler{NewProxy(relay.TCP{Upstream: relay.Upstream(replyAtEOF(t))}, log), make(chan struct{})}
	s := serviceOf("proxy", 128, NewTCP(TCPConfig{Listen: at(freePort(t)), PrefixLen6: 128, Clock: system, PerAddress: 8, Handler: h, Log: log}))
	defer s.close()
	command := func() uint16 {
		port := freePort(t)
		if err := s.Execute(Command{Grant: grant("com1", "127.0.0.1"), Port: port, For: time.Hour}); err != nil {
			t.Fatal(err)
		}
		return port
	}
	used, idle := command(), command()
	c, err := dialFrom("127.0.0.1", used, netns.Deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range portsPerClient {
		command()
	}
	if c, err := dialFrom("127.0.0.1", idle, netns.Deadline(t)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the first port to which nobody came: %v, %v", c, err)
	}
	close(h.release)
	io.WriteString(c, "all")
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "heard all" || err != nil {
		t.Errorf("answered %q, %v", b, err)
	}
}

func TestRandomPortOfUDP(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, cut := range []bool{true, false} {
		terms := LeasePolicy{OpenFor: time.Hour, OpenMax: time.Hour, Cut: cut, Addresses: 8}
		s, d, own := udpStage(t, terms, time.Minute, system)
		port := freePort(t)
		if err := s.Execute(Command{Grant: grant("com1", "127.0.0.1"), Port: port}); err != nil {
			t.Fatal(err)
		}
		stranger, first, second := udpClient(t, "127.0.0.2", at(port)), udpClient(t, "127.0.0.1", at(port)), udpClient(t, "127.0.0.1", at(port))
		if !silent(stranger) {
			t.Error("a stranger is answered")
		}
		answered(t, "the first flow", first)
		if !silent(second) || !silent(stranger) {
			t.Error("answered: not the first flow alone")
		}
		if !silent(udpClient(t, "127.0.0.1", own)) {
			t.Error("the service's own port is open")
		}
		// The lease of the address ends; the port's connection does not.
		s.Open(grant("com2", "127.0.0.1"))
		answered(t, "by the service's own port", udpClient(t, "127.0.0.1", own))
		s.Execute(Command{Grant: grant("com2", "127.0.0.1"), Action: Close})
		answered(t, "the first flow after another lease", first)
		if !silent(second) {
			t.Error("after another lease: not the first flow alone")
		}
		// The time of the port is over.
		s.mu.Lock()
		s.ports.end(func(*openPort) bool { return true }, terms.Cut, expired)
		s.mu.Unlock()
		if !cut {
			answered(t, "the first flow after the time", first)
		} else if !silent(first) {
			t.Error("cut, and answered after the time")
		}
		s.update(t, terms, func(wire.Identifier) bool { return false })
		if !silent(first) {
			t.Errorf("cut %v: answered after the revocation", cut)
		}
		noPortsLeft(t, d)
	}
}

// TestRandomPortOfUDPIsReleased: with the flow, or when no flow begins.
func TestRandomPortOfUDPIsReleased(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s, d, _ := udpStage(t, networksPolicy, 300*time.Millisecond, system)
	port := freePort(t)
	if err := s.Execute(Command{Grant: grant("com1", "127.0.0.1"), Port: port}); err != nil {
		t.Fatal(err)
	}
	c := udpClient(t, "127.0.0.1", at(port))
	netns.Until(t, "an answer, or the end of a flow that was idle before it", func() bool { return asked(c) || noPorts(d) })
	noPortsLeft(t, d)
	if c, err := net.ListenPacket("udp", at(port)); err != nil {
		t.Errorf("after an idle flow: %v", err)
	} else {
		c.Close()
	}
	if err := s.Execute(Command{Grant: grant("com1", "127.0.0.1"), Port: port}); err != nil {
		t.Fatal(err)
	}
	s.Execute(Command{Grant: grant("com1", "127.0.0.1"), Action: Close})
	if !silent(udpClient(t, "127.0.0.1", at(port))) {
		t.Error("answered after an order to close")
	}
	noPortsLeft(t, d)
	// Closing the enforcer closes the port.
	if err := s.Execute(Command{Grant: grant("com1", "127.0.0.1"), Port: port}); err != nil {
		t.Fatal(err)
	}
	s.close()
	noPortsLeft(t, d)
}

// noPortsLeft waits until there is no random port.
func noPortsLeft(t *testing.T, d *UDP) {
	t.Helper()
	netns.Until(t, "no random port is left", func() bool { return noPorts(d) })
}

func noPorts(d *UDP) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ports) == 0
}

// TestDatagramsWait: a random port with an unread datagram is in use.
func TestDatagramsWait(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := &udpPort{conn: c}
	if p.State() != PortWaiting {
		t.Error("used before a datagram")
	}
	if _, err := c.WriteTo([]byte("x"), c.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	netns.Until(t, "a datagram that waits", func() bool { return p.State() == PortUsed })
}
