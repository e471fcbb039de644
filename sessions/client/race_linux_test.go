package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/sockfilter"
)

// hiddenService is a listener that drops each packet until it opens.
type hiddenService struct {
	net.Listener
	t *testing.T
}

func hide(t *testing.T, at string) hiddenService {
	t.Helper()
	lc := net.ListenConfig{Control: sockfilter.DenyAll}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return hiddenService{l, t}
}

func (s hiddenService) open() {
	raw, err := s.Listener.(*net.TCPListener).SyscallConn()
	if err == nil {
		_, err = sockfilter.Attach(raw, sockfilter.Set{Anyone: true})
	}
	if err != nil {
		s.t.Error(err)
	}
}

// holdPortsAt receives the knocks at an address, so that no ICMP errors come.
func holdPortsAt(t *testing.T, at string) (first *net.UDPConn) {
	t.Helper()
	packets, err := Sequence(profile(), now, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, packet := range packets {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(at), Port: int(packet.Port)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if i == 0 {
			first = c
		}
	}
	return first
}

// raceConfig is a configuration for a service on port 8080. Its clock stands still.
func raceConfig(t *testing.T, addresses ...string) Config {
	p := profile()
	p.Server, p.Service = "gate.localhost", ":8080"
	for _, a := range addresses {
		p.Addresses = append(p.Addresses, netip.MustParseAddr(a))
	}
	return Config{
		Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: time.Minute,
		NoWait: true, Now: func() time.Time { return now },
	}
}

// TestOvertakingSYN: the service opens only after several SYNs were dropped. The client
// gets in without a SYN that the kernel sends again, and the program sees one connection.
func TestOvertakingSYN(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	service := hide(t, "127.0.0.1:8080")
	holdPortsAt(t, "127.0.0.1")
	cfg := raceConfig(t, "127.0.0.1")
	cfg.Keep = true
	begun, again := tcpCount(t, "ActiveOpens"), tcpCount(t, "RetransSegs")
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		netns.Until(t, "three SYNs", func() bool { return tcpCount(t, "ActiveOpens") >= begun+3 })
		service.open()
	}()
	r, err := Knock(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Conn.Close()
	<-opened
	if r.Attempts != 1 || tcpCount(t, "PassiveOpens") != 1 {
		t.Errorf("%+v; %d connections", r, tcpCount(t, "PassiveOpens"))
	}
	t.Logf("%d SYNs, %d sent again by the kernel", tcpCount(t, "ActiveOpens")-begun, tcpCount(t, "RetransSegs")-again)
}

// TestOneOfFourAddresses: three addresses that the profile names are dead, in silence.
// The first attempt goes on to the fourth, and each of the four sequences has other
// nonces, which were on disk before the first was sent.
func TestOneOfFourAddresses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	addresses := []string{"127.1.0.1", "127.1.0.2", "127.1.0.3", "127.1.0.4"}
	for _, a := range addresses {
		holdPortsAt(t, a)
	}
	for _, a := range addresses[:3] {
		hide(t, a+":8080")
	}
	l, err := net.Listen("tcp", "127.1.0.4:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := raceConfig(t, addresses...)
	var sent []Sent
	cfg.Report = func(e Event) {
		switch e := e.(type) {
		case Sent:
			if len(sent) == 0 {
				r, err := cfg.Nonces.read()
				if end := uint64(e.Base) + uint64(4*cfg.Profile.Ports); err != nil || r.next < end {
					t.Errorf("the record ends at %d, %v; want %d", r.next, err, end)
				}
			}
			sent = append(sent, e)
		case Unanswered:
			t.Errorf("given up: %+v", e)
		}
	}
	r, err := Knock(t.Context(), cfg)
	if err != nil || r.Address.String() != addresses[3] || r.Attempts != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for i, s := range sent {
		if s.Address.String() != addresses[i] || s.Base != uint32(i*cfg.Profile.Ports) {
			t.Errorf("sequence %d: %+v", i, s)
		}
	}
	if len(sent) != 4 {
		t.Errorf("%d sequences", len(sent))
	}
}

// TestBothFamilies: without Keep, the client opens the service over both families, also
// if it answers over the first at once. If the other one does not answer, the client
// does not wait for it. With Keep, one is enough.
func TestBothFamilies(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, a := range []string{"127.0.0.1", "::1"} {
		holdPortsAt(t, a)
	}
	l4, err := net.Listen("tcp4", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l4.Close()
	service6 := hide(t, "[::1]:8080")
	for _, row := range []struct {
		keep, open bool
		sent       []string
		also       []netip.AddrPort
	}{
		{sent: []string{"127.0.0.1", "::1"}},
		{keep: true, sent: []string{"127.0.0.1"}},
		{open: true, sent: []string{"127.0.0.1", "::1"}, also: []netip.AddrPort{netip.MustParseAddrPort("[::1]:8080")}},
	} {
		if row.open {
			service6.open()
		}
		// On a busy machine, the answer may come too late to count.
		netns.Until(t, fmt.Sprintf("%+v", row), func() bool {
			cfg := raceConfig(t, "127.0.0.1", "::1")
			var sent []string
			cfg.Timeout = time.Hour // not for the second family
			cfg.Keep, cfg.Report = row.keep, func(e Event) {
				if s, ok := e.(Sent); ok {
					sent = append(sent, s.Address.String())
				}
			}
			r, err := Knock(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if r.Conn != nil {
				r.Conn.Close()
			}
			if r.Address.String() != "127.0.0.1" || !row.open && len(r.Also) > 0 {
				t.Fatalf("%+v: %+v", row, r)
			}
			return slices.Equal(sent, row.sent) && slices.Equal(r.Also, row.also)
		})
	}
}

// TestResolverAfterNamed: an address that only the resolver gives comes after those of
// the profile, and gets in if those are dead. If the name does not resolve, the client
// uses the address at which the service answered before.
func TestResolverAfterNamed(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	resolves := func(text string) {
		t.Helper()
		if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	resolves("127.1.0.3 gate.localhost\n127.1.0.1 gate.localhost\n")
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"127.1.0.1", "127.1.0.2", "127.1.0.3"} {
		holdPortsAt(t, a)
	}
	hide(t, "127.1.0.1:8080")
	hide(t, "127.1.0.2:8080")
	l, err := net.Listen("tcp", "127.1.0.3:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := raceConfig(t, "127.1.0.1", "127.1.0.2")
	var sent []string
	cfg.Report = func(e Event) {
		if s, ok := e.(Sent); ok {
			sent = append(sent, s.Address.String())
		}
	}
	knock := func(when string, want ...string) {
		t.Helper()
		sent = nil
		r, err := Knock(t.Context(), cfg)
		if err != nil || r.Address.String() != "127.1.0.3" || r.Attempts != 1 || !slices.Equal(sent, want) {
			t.Errorf("%s: %+v, %v; sent to %v", when, r, err, sent)
		}
	}
	knock("at first", "127.1.0.1", "127.1.0.2", "127.1.0.3")
	resolves("127.1.0.9 other.localhost\n")
	// Package net reads the file again some seconds after a change.
	netns.Until(t, "a name that does not resolve", func() bool {
		_, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", "gate.localhost")
		return err != nil
	})
	knock("without the resolver", "127.1.0.1", "127.1.0.2", "127.1.0.3")
	cfg.Profile.Addresses = nil
	knock("with neither", "127.1.0.3")
}

// TestManyAddresses: a name with a hundred addresses costs the nonces of a few.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	text := "::1 gate.localhost\n"
	for i := range 100 {
		text = fmt.Sprintf("127.2.0.%d gate.localhost\n", i+1) + text
	}
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	cfg := raceConfig(t)
	sent := map[netip.Addr]bool{}
	cfg.Watch, cfg.Attempts = WatchNone, 1
	cfg.Report = func(e Event) {
		if s, ok := e.(Sent); ok {
			sent[s.Address] = true
		}
	}
	Knock(t.Context(), cfg) // all ports are closed
	if len(sent) != MaxAddresses+1 || !sent[netip.IPv6Loopback()] {
		t.Errorf("sent to %d addresses: %v", len(sent), sent)
	}
}

// TestResetsLoseNothing: the server accepts the first connections and resets them, as
// one that is open for another address. The data of the caller arrives once. A firewall
// lets the connections of a host to itself pass, whatever the profile has.
func TestResetsLoseNothing(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	other := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "here", Addresses: []string{"198.51.100.1/24"}}, other,
		netns.End{Name: "there", Addresses: []string{"198.51.100.2/24"}})
	holdPortsAt(t, "127.0.0.1")
	holdPortsAt(t, "198.51.100.1")
	for _, row := range []struct {
		server    string
		handshake Handshake
	}{{"127.0.0.1", HandshakeUnknown}, {"127.0.0.1", HandshakeGranted}, {"198.51.100.1", HandshakeGranted}} {
		l, err := net.Listen("tcp", row.server+":8080")
		if err != nil {
			t.Fatal(err)
		}
		const resets, text = 2, "once"
		received := make(chan string, 1)
		go func() {
			for range resets {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			text, _ := io.ReadAll(c)
			received <- string(text)
			c.Write(text)
		}()
		cfg := raceConfig(t, row.server)
		cfg.Profile.Server, cfg.Profile.Handshake, cfg.Keep = row.server, row.handshake, true
		r, err := Knock(t.Context(), cfg)
		if err != nil {
			t.Fatalf("%+v: %v", row, err)
		}
		if _, err := r.Conn.Write([]byte(text)); err != nil {
			t.Fatalf("%+v: %v", row, err)
		}
		r.Conn.CloseWrite()
		reply, err := io.ReadAll(r.Conn)
		if got := <-received; err != nil || got != text || string(reply) != text {
			t.Errorf("%+v: the service received %q, and replied %q, %v", row, got, reply, err)
		}
		r.Conn.Close()
		l.Close()
	}
}

// TestSilentReset: the service reads, acts, and resets the connection without a word. If
// only granted addresses complete a handshake, that was not the gate, and the client must
// not send the same again. Otherwise it may have been, and the client sends it again, a
// few times at most.
func TestSilentReset(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	client := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "server", Addresses: []string{"198.51.100.1/24"}}, client,
		netns.End{Name: "client", Addresses: []string{"198.51.100.2/24"}})
	l, err := net.Listen("tcp", "198.51.100.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	holdPortsAt(t, "198.51.100.1")
	const text = "once"
	var mu sync.Mutex
	var received []string
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 64)
			n, _ := c.Read(b)
			mu.Lock()
			received = append(received, string(b[:n]))
			mu.Unlock()
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	for _, handshake := range []Handshake{HandshakeGranted, HandshakeUnknown} {
		cfg := raceConfig(t, "198.51.100.1")
		cfg.Profile.Server, cfg.Profile.Handshake, cfg.Keep = "198.51.100.1", handshake, true
		err := client.Do(func() error {
			r, err := Knock(t.Context(), cfg)
			if err != nil {
				return err
			}
			defer r.Conn.Close()
			r.Conn.Write([]byte(text))
			_, err = r.Conn.Read(make([]byte, 1))
			return err
		})
		var offline *OfflineError
		if !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &offline) {
			t.Errorf("%q: got %v", handshake, err)
		}
		mu.Lock()
		got := strings.Join(received, " ")
		received = nil
		mu.Unlock()
		if handshake == HandshakeGranted && got != text || strings.Count(got, text) > 1+maxAgain {
			t.Errorf("%q: the service received %q", handshake, got)
		}
	}
}

// TestLateReset: a busy gate accepts the connection, and resets it when the client has
// already sent data. The data of the caller arrives, in order, and once at the service. If
// the caller has taken the TCP connection, or has written more than the client keeps, it
// gets the reset.
func TestLateReset(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	holdPortsAt(t, "127.0.0.1")
	large := strings.Repeat("0123456789abcdef", maxKept/16)
	for _, row := range []struct {
		name  string
		parts []string // the gate resets the connection after the first
		taken bool
		fails bool
	}{
		{name: "two parts", parts: []string{"first ", "second"}},
		{name: "no data", parts: []string{"", "second"}},
		{name: "as much as is kept", parts: []string{large[:len(large)-1], "x"}},
		{name: "more than is kept", parts: []string{large + "x", "y"}, fails: true},
		{name: "taken", parts: []string{"first ", "second"}, taken: true, fails: true},
	} {
		// On a busy machine, the first moments may be over too early.
		netns.Until(t, row.name, func() bool {
			received, reset := make(chan string, 1), make(chan struct{})
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				<-reset
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
				if c, err = l.Accept(); err != nil {
					return
				}
				text, _ := io.ReadAll(c)
				c.Write([]byte("reply"))
				c.Close()
				received <- string(text)
			}()
			cfg := raceConfig(t, "127.0.0.1")
			cfg.Keep = true
			r, err := Knock(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Conn.Close()
			var conn io.ReadWriter = r.Conn
			if row.taken {
				conn = r.Conn.TCP()
			}
			write := func(text string) {
				for part := range slices.Chunk([]byte(text), 16<<10) {
					conn.Write(part)
				}
			}
			write(row.parts[0])
			close(reset)
			write(row.parts[1])
			if !row.taken {
				r.Conn.CloseWrite()
			}
			reply, err := io.ReadAll(conn)
			if row.fails {
				if err == nil && string(reply) == "reply" {
					t.Errorf("%s: the client sent it again", row.name)
				}
				c, err := net.Dial("tcp", "127.0.0.1:8080") // ends the service
				if err == nil {
					c.Close()
				}
				return <-received == ""
			}
			if err != nil || string(reply) != "reply" {
				c, err := net.Dial("tcp", "127.0.0.1:8080")
				if err == nil {
					c.Close()
				}
				<-received
				return false
			}
			if got, want := <-received, strings.Join(row.parts, ""); got != want {
				t.Errorf("%s: the service received %d bytes, want %d", row.name, len(got), len(want))
			}
			return true
		})
	}
}

// TestOneConnection: over a long path, several connections are under way when the first
// is answered. The program sees that one, and none if the client only watches: no half
// login at sshd, and a server that accepts one connection still has it.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	client := netns.NewHost(t)
	netns.ConnectDelayed(t, netns.End{Name: "server", Addresses: []string{"198.51.100.1/24"}}, client,
		netns.End{Name: "client", Addresses: []string{"198.51.100.2/24"}}, 20*time.Millisecond)
	for _, row := range []struct {
		keep      bool
		handshake Handshake
	}{{}, {handshake: HandshakeGranted}, {keep: true}, {keep: true, handshake: HandshakeGranted}} {
		l, err := net.Listen("tcp", "198.51.100.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		cfg := raceConfig(t, "198.51.100.1")
		cfg.Profile.Server, cfg.Keep, cfg.Profile.Handshake = "198.51.100.1", row.keep, row.handshake
		completed, want := tcpCount(t, "PassiveOpens"), 0
		err = client.Do(func() error {
			r, err := Knock(t.Context(), cfg)
			if err != nil || !row.keep {
				return err
			}
			// One connection, then none: as nc -l.
			c, err := l.Accept()
			if err != nil {
				return err
			}
			l.Close()
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
			want = 1
			r.Conn.Write([]byte("hello"))
			r.Conn.CloseWrite()
			if text, err := io.ReadAll(r.Conn); string(text) != "hello" || err != nil {
				t.Errorf("%+v: read %q, %v", row, text, err)
			}
			return r.Conn.Close()
		})
		if err != nil {
			t.Fatalf("%+v: %v", row, err)
		}
		// The earlier packets of the client have arrived when this is answered.
		client.Do(func() error {
			c, err := net.Dial("tcp", "198.51.100.1:9")
			if err == nil {
				c.Close()
			}
			return nil
		})
		if got := tcpCount(t, "PassiveOpens") - completed; got != want {
			t.Errorf("%+v: the server had %d connections", row, got)
		}
		l.Close()
	}
	if n := tcpCountIn(t, client, "ActiveOpens"); n < 4+4*2 {
		t.Errorf("only %d SYNs: no two were under way together", n)
	}
}

// TestNothingStays: after calls of Knock, with each result, no descriptor and no goroutine
// is left.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hide(t, "127.1.0.1:8080")
	holdPortsAt(t, "127.0.0.1")
	holdPortsAt(t, "127.1.0.1")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	count := func() (fds, goroutines int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list), runtime.NumGoroutine()
	}
	knocks := func() {
		for _, addresses := range [][]string{{"127.0.0.1"}, {"127.1.0.1"}, {"127.1.0.1", "127.0.0.1"}, {"127.1.0.9"}} {
			for _, keep := range []bool{false, true} {
				cfg := raceConfig(t, addresses...)
				cfg.Profile.Server = "127.1.0.1" // without a resolver
				if addresses[0] != "127.1.0.1" {
					cfg.Profile.Server = addresses[0]
				}
				cfg.Keep, cfg.Attempts, cfg.Timeout = keep, 1, 300*time.Millisecond
				if r, err := Knock(t.Context(), cfg); err == nil && keep {
					r.Conn.Close()
				}
			}
		}
	}
	knocks()
	fds, goroutines := count()
	for range 3 {
		knocks()
	}
	netns.Until(t, "the end of all", func() bool {
		f, g := count()
		return f <= fds && g <= goroutines
	}, func() string {
		f, g := count()
		return fmt.Sprintf("%d descriptors, before %d; %d goroutines, before %d", f, fds, g, goroutines)
	})
}

// TestNoKnockArrives: at one address, all knocks and the service are refused; to another,
// there is no route; and the name does not resolve. One attempt shows all of that. Without
// a route to any, it uses no nonces.
func TestNoKnockArrives(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, row := range []struct {
		addresses []string
		unsent    bool
	}{{[]string{"203.0.113.1"}, true}, {[]string{"127.1.0.9", "203.0.113.1"}, false}} {
		var offline *OfflineError
		cfg := raceConfig(t, row.addresses...)
		_, err := Knock(t.Context(), cfg)
		if !errors.As(err, &offline) || offline.Attempts != 1 || (offline.Reason == ReasonCannotSend) != row.unsent {
			t.Errorf("%v: %v, %+v", row.addresses, err, offline)
		}
		if _, err := os.Stat(cfg.Nonces.Path); errors.Is(err, fs.ErrNotExist) != row.unsent {
			t.Errorf("%v: the nonce file: %v", row.addresses, err)
		}
	}
}

// TestConnectionsAreBounded: at a service that never answers, only so many connections are
// under way, whatever the time.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	hide(t, "127.0.0.1:8080")
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	service, knocked := netip.MustParseAddrPort("127.0.0.1:8080"), time.Now()
	c := newConnector(t.Context(), false, false)
	l := newLane(service, knocked, time.Hour, func() before { return beforeUnknown })
	c.lanes = []*lane{l}
	before, most := count(), 0
	for range 5 * maxUnderWay {
		at, _ := l.due()
		c.step(at)
		most = max(most, len(c.underWay[l]))
	}
	// A descriptor stays until its goroutine has seen that it is closed.
	netns.Until(t, "the end of the oldest connections", func() bool { return count() <= before+maxUnderWay+1 }) // the poller has one
	if most != maxUnderWay {
		t.Errorf("%d connections were under way, want %d", most, maxUnderWay)
	}
	c.close()
	netns.Until(t, "the end of all connections", func() bool { return count() <= before+1 })
}
