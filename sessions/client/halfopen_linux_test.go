package client

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/sockfilter"
)

// TestHalfOpen: the program behind the port never sees the watch, neither before the
// knock nor after it.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, address := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p := profile()
		p.Server, p.Service = netip.MustParseAddrPort(address).Addr().String(), ":8080"
		result, err := Knock(t.Context(), Config{
			Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: time.Minute,
			CheckBefore: true, Now: time.Now,
		})
		if err != nil || !result.Watched || result.Conn != nil {
			t.Errorf("%s: %+v, %v", address, result, err)
		}
		if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if c, err := l.Accept(); err == nil {
			c.Close()
			t.Errorf("%s: the listener got a connection", address)
		}
	}
}

// TestNobodyBehindThePort: the service drops connections before the knock, and refuses
// them after it.
func TestNobodyBehindThePort(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	p := profile()
	p.Service = ":8080"
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false)
	for _, keep := range []bool{false, true} {
		l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		ports := holdKnockPorts(t)
		_, err = Knock(t.Context(), Config{
			Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: time.Minute,
			Keep: keep, Now: func() time.Time { return now }, Report: func(e Event) {
				if _, ok := e.(Sent); ok {
					l.Close()
				}
			},
		})
		var offline *OfflineError
		if !errors.As(err, &offline) || offline.Attempts != 1 ||
			err.Error() != "127.0.0.1: the service 127.0.0.1:8080 is open, but no program answers there" ||
			offline.Reason != ReasonNotListening || len(offline.Likely) != 1 || !strings.Contains(offline.Likely[0], "no program listens on port 8080") {
			t.Errorf("keep %v: %v, %+v", keep, err, offline)
		}
		for _, c := range ports {
			c.Close()
		}
	}
}

// TestProgramThatClosesConnections: the program behind the service does not run. One
// attempt is enough.
func TestProgramThatClosesConnections(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	l, err := net.Listen("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	p := profile()
	p.Service = ":8080"
	for name, change := range map[string]func(*Config){
		"keep":  func(c *Config) { c.Keep = true },
		"watch": func(c *Config) { c.Watch = WatchConnection },
	} {
		cfg := Config{
			Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: time.Minute, Now: time.Now,
		}
		change(&cfg)
		var err error
		// On a busy machine, the program closes a connection after the time in which the
		// client looks at it.
		netns.Until(t, name+": a connection that is closed soon", func() bool {
			var result Result
			result, err = Knock(t.Context(), cfg)
			if err == nil && result.Conn != nil { // the proof of a kept connection is short
				_, err = result.Conn.Read(make([]byte, 1))
				result.Conn.Close()
			}
			return err != nil
		})
		var offline *OfflineError
		if !errors.As(err, &offline) || offline.Attempts != 1 || offline.Reason != ReasonUpstream {
			t.Errorf("%s: %v, %+v", name, err, offline)
		}
	}
}

// holdKnockPorts receives the knocks, so that no ICMP errors come.
func holdKnockPorts(t *testing.T) (ports []*net.UDPConn) {
	t.Helper()
	packets, err := Sequence(profile(), now, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, packet := range packets {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(packet.Port)})
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, c)
	}
	return ports
}

// TestSeveralAddresses: the name of the server has three addresses without a
// server, with ICMP errors or in silence, and then the server's.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	targets := []target{}
	for _, a := range []string{"127.1.0.1", "127.1.0.2", "127.1.0.3", "127.0.0.1"} {
		targets = append(targets, target{knock: netip.MustParseAddr(a), service: netip.AddrPortFrom(netip.MustParseAddr(a), 8080)})
	}
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false)
	// Silence of the first one; the others reject the knocks.
	silent, err := lc.Listen(t.Context(), "tcp4", "127.1.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l, err := net.Listen("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := profile()
	p.Service = ":8080"
	cfg := Config{
		Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: time.Minute, Now: time.Now,
	}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	k := &knocking{cfg: cfg, targets: targets}
	result, err := k.attempt(t.Context(), sequence{attempt: 1})
	if err != nil || result.Address != targets[3].knock || result.Attempts != 1 {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestICMPOfOtherPackets: an ICMP error counts only if it quotes a packet of the
// sequence.
func TestICMPOfOtherPackets(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s, err := send(netip.MustParseAddr("127.0.0.1"), netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		_, err := s.WriteToUDPAddrPort(nil, netip.MustParseAddrPort("127.0.0.1:9"))
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	if errs := s.icmp(); len(errs) != 0 {
		t.Errorf("got %v", errs)
	}
}

// TestResetBeforeConnectReturns: a reset right after the SYN-ACK can be the error of
// connect. It is the same sign as a later one: the service is open for another address.
func TestResetBeforeConnectReturns(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	service := l.Addr().(*net.TCPAddr).AddrPort()
	for range 200 {
		c, err := connectOnce(service, false, 0)
		if err == nil {
			c.Close() // on a busy machine, the reset may come too late
		} else if !errors.Is(err, errClosedAtOnce) || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("got %v", err)
		}
	}
}
