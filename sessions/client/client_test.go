package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions/syserror"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

var now = time.Unix(1_800_000_030, 0)

func profile() Profile {
	return Profile{
		Server: "127.0.0.1", PortSecret: "portSecret", Ports: 3,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"),
	}
}

func TestSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := profile()
		p.Ports = rapid.IntRange(1, 128).Draw(t, "ports")
		p.Generator = rapid.SampledFrom([]schedule.Generator{schedule.Algorithm1, schedule.Java}).Draw(t, "generator")
		at := time.Unix(int64(rapid.Uint32().Draw(t, "at")), 0)
		base := rapid.Uint32Range(0, 1<<32-128).Draw(t, "base")
		packets, err := Sequence(p, at, base)
		if err != nil {
			t.Fatal(err)
		}
		ports, _ := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(at), p.Ports)
		for i, packet := range packets {
			k, err := wire.Parse(packet.Datagram)
			if err != nil {
				t.Fatal(err)
			}
			want := wire.Knock{
				Sequence: int8(i), Maximum: int8(p.Ports - 1), Identifier: p.Identifier,
				Timestamp: uint32(at.Unix()), Nonce: base + uint32(i),
			}.Sign(p.Secret)
			if k != want || packet.Port != ports[i] {
				t.Fatalf("knock %d at port %d: %+v", i, packet.Port, k)
			}
		}
	})
}

func TestSequenceRefuses(t *testing.T) {
	var exhausted *ExhaustedError
	if _, err := Sequence(profile(), now, 1<<32-2); !errors.As(err, &exhausted) {
		t.Errorf("nonces that wrap: %v", err)
	}
	if _, err := Sequence(profile(), now, 1<<32-3); err != nil {
		t.Errorf("the very last nonces: %v", err)
	}
	for _, at := range []int64{-1, 1 << 32} {
		if _, err := Sequence(profile(), time.Unix(at, 0), 0); err == nil {
			t.Errorf("a clock at %d accepted", at)
		}
	}
}

// FuzzParseSeen: whatever the file of ports has, few lines are read, and what is read
// is written as it was.
func FuzzParseSeen(f *testing.F) {
	line := "29922120 198.51.100.1:20000 web\n"
	for _, text := range []string{
		"", seenHeader, seenHeader + "\n", seenHeader + "\n" + line, line, seenHeader + "\n" + strings.Repeat(line, maxSeen+1),
		seenHeader + "\n29922120 [fe80::1%eth0]:20000 web\n" + line, seenHeader + "\n-1 198.51.100.1:0 web", "sallyport-ports 2\n" + line,
		seenHeader + "\nnoon 198.51.100.1:20000 web\n29922120 host:20000 web\n29922120 198.51.100.1:20000\n" + line,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list := parseSeen(text)
		if len(list) > maxSeen {
			t.Fatalf("%d lines", len(list))
		}
		written := seenText(list)
		if again := parseSeen(written); !slices.Equal(again, list) {
			t.Fatalf("%q became %v, then %v", text, list, again)
		}
	})
}

// TestSeen: a device remembers the ports of a service in a minute, and of the minutes
// that can still be accepted, however many there are. A damaged file is as none.
func TestSeen(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "com1.nonce")}
	const m = schedule.Minute(29922120)
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), port) }
	see := func(service string, m schedule.Minute, port uint16) {
		t.Helper()
		if err := f.see(t.Context(), service, m, at(port)); err != nil {
			t.Fatal(err)
		}
	}
	see("web", m-schedule.MaxLive-1, 9)
	see("web", m, 10)
	see("web", m, 11)
	see("ssh", m, 12)
	see("web", m, 10)
	if got := f.readSeen(); len(got) != 3 {
		t.Errorf("remembers %v", got)
	}
	if got := f.seen("web", m); len(got) != 2 || !got[at(10)] || !got[at(11)] || len(f.seen("web", m+1)) > 0 {
		t.Errorf("saw %v", got)
	}
	for port := range uint16(2 * maxSeen) {
		see("web", m, 100+port)
	}
	if got := f.seen("web", m); len(got) != maxSeen || !got[at(100+2*maxSeen-1)] {
		t.Errorf("saw %d ports", len(got))
	}
	if err := os.WriteFile(f.seenPath(), bytes.Repeat([]byte{'x'}, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := f.seen("web", m); len(got) > 0 {
		t.Errorf("a damaged file has %v", got)
	}
	see("web", m, 10)
	if got := f.seen("web", m); len(got) != 1 {
		t.Errorf("after a damaged file: %v", got)
	}
}

func FuzzParseService(f *testing.F) {
	for _, s := range []string{"host:22", ":22", "[::1]:443", "host", "host:0", "host:ssh", ":51820/udp", ":22/tcp", ":22/", "[fe80::1%3]:1/udp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseService(text)
		if err != nil {
			return
		}
		if s.Port == 0 || strings.Contains(s.Host, "[") {
			t.Fatalf("%q: %+v", text, s)
		}
		if again, err := ParseService(s.String()); err != nil || again != s {
			t.Fatalf("%q: %+v, then %+v, %v", text, s, again, err)
		}
	})
}

// TestLastAttemptWaitsForTheNextMinute runs in a bubble of synctest.
func TestLastAttemptWaitsForTheNextMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var waited time.Duration
		cfg := Config{Now: time.Now, Report: func(e Event) { waited += e.(Waiting).For }}
		minute := schedule.MinuteOf(start.Add(40 * time.Second))
		time.Sleep(40 * time.Second)
		if err := nextMinute(t.Context(), cfg, minute); err != nil {
			t.Fatal(err)
		}
		if schedule.MinuteOf(time.Now()) != minute+1 || waited != (minute+1).Start().Sub(start.Add(40*time.Second)) {
			t.Errorf("waited %v until %v", waited, time.Now())
		}
		// The next minute has begun already: no wait.
		waited = 0
		if err := nextMinute(t.Context(), cfg, minute); err != nil || waited != 0 {
			t.Errorf("waited %v, %v", waited, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := nextMinute(ctx, cfg, minute+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestKnockThatOpens listens on the knock port, and opens the service after the
// second sequence.
func TestKnockThatOpens(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	p := profile()
	p.Ports = 1
	p.PortSecret = "ports that no other test knocks at"
	clock := now
	atPort := func() (uint16, *net.UDPConn, error) {
		ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(clock), 1)
		if err != nil {
			return 0, nil, err
		}
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(ports[0])})
		return ports[0], c, err
	}
	port, udp, err := atPort()
	for syserror.InUse.In(err) { // by another program
		clock = clock.Add(time.Minute)
		port, udp, err = atPort()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Service = l.Addr().String()
	l.Close()
	opened := make(chan net.Listener, 1)
	datagrams := make(chan []byte, 10)
	go func() {
		for i := 0; ; i++ {
			b := make([]byte, 100)
			n, err := udp.Read(b)
			if err != nil {
				return
			}
			datagrams <- b[:n]
			if i == 1 {
				l, err := net.Listen("tcp4", p.Service)
				if err != nil {
					t.Error(err)
				}
				opened <- l
			}
		}
	}()
	var sent []Sent
	var resolved Resolved
	var unanswered int
	result, err := Knock(t.Context(), Config{
		CheckBefore: true,
		Profile:     p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: 500 * time.Millisecond,
		Attempts: 100, // a busy machine may need more than two
		Now:      func() time.Time { return clock },
		Report: func(e Event) {
			switch e := e.(type) {
			case Resolved:
				resolved = e
			case Sent:
				if !e.Previous {
					sent = append(sent, e)
				}
			case Unanswered:
				unanswered++
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	(<-opened).Close()
	if result.OpenBefore {
		t.Error("open before the knock, but nothing listened")
	}
	if result.Attempts < 2 || result.Service.String() != p.Service || result.Address != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("got %+v", result)
	}
	if len(sent) != result.Attempts || sent[0].Base != 0 || sent[1].Base != 1<<12+1 || sent[1].Packets[0].Port != port {
		t.Errorf("sent %+v", sent)
	}
	if len(resolved.Addresses) != 1 || resolved.Addresses[0] != result.Address || unanswered != len(sent)-1 {
		t.Errorf("resolved %+v, %d unanswered", resolved, unanswered)
	}
	for _, base := range []uint32{0, 1<<12 + 1} { // between them, one to the port of the previous minute
		want, _ := Sequence(p, clock, base)
		if got := <-datagrams; !bytes.Equal(got, want[0].Datagram) {
			t.Errorf("sequence %d: sent %x", base, got)
		}
	}
}

func TestKnockWithoutServer(t *testing.T) {
	t.Parallel()
	if !ownNetwork(t) {
		return
	}
	p := profile()
	// Nothing listens: the host refuses knocks and connections.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Service = l.Addr().String()
	l.Close()
	var bases []uint32
	// One attempt shows that no knock arrives, if the kernel delivers the ICMP errors at
	// once: on a busy machine it may do that later.
	for range 10 {
		bases = nil
		_, err = Knock(t.Context(), Config{
			Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: 10 * time.Second, NoWait: true,
			Now: func() time.Time { return now },
			Report: func(e Event) {
				switch e := e.(type) {
				case Sent:
					bases = append(bases, e.Base)
				case Unanswered:
					if !syserror.Refused.In(e.Err) || e.Service.String() != p.Service {
						t.Errorf("unanswered %+v", e)
					}
				}
			},
		})
		if !canReceiveICMP || len(bases) == 1 {
			break
		}
	}
	var offline *OfflineError
	if !errors.As(err, &offline) || !syserror.Refused.In(err) {
		t.Fatalf("got %v", err)
	}
	if !offline.Up || !strings.HasPrefix(err.Error(), "127.0.0.1: the service "+p.Service+" did not open after ") {
		t.Errorf("got %v, up %v", err, offline.Up)
	}
	want := []uint32{0, 1 << 12, 1 << 16, uint32(jumpTarget(now) + nonceSkip)}
	if canReceiveICMP {
		want = want[:1]
	}
	if !slices.Equal(bases, want) {
		t.Errorf("bases %v, want %v", bases, want)
	}
	hints := strings.Join(offline.Hints, "\n")
	for _, want := range []string{"port unreachable) came for 3 of 3 knocks", "refuses connections", "clock"} {
		if canReceiveICMP && !strings.Contains(hints, want) {
			t.Errorf("no hint of %q in:\n%s", want, hints)
		}
	}
	if strings.Contains(hints+err.Error(), "com1_secret") {
		t.Error("the hints contain a secret")
	}
}

// bindKnockPorts binds the knock ports of the first minute in which no other program
// holds one, and returns a time in that minute.
func bindKnockPorts(t *testing.T, p Profile) (at time.Time, open []*net.UDPConn) {
	t.Helper()
	for at = now; ; at = at.Add(time.Minute) {
		ports, err := schedule.Ports(p.Generator, p.PortSecret, schedule.MinuteOf(at), p.Ports)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range ports {
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
			if err == nil {
				open = append(open, c)
			}
		}
		if len(open) == len(ports) {
			return at, open
		}
		for _, c := range open {
			c.Close()
		}
		open = nil
	}
}

// TestKnockUnwatched: the client makes two attempts. ICMP errors show that the knocks
// do not arrive.
func TestKnockUnwatched(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	for name, change := range map[string]func(*Config){
		"no service":  func(*Config) {},
		"UDP service": func(c *Config) { c.Profile.Service = ":51820/udp" },
		"not watched": func(c *Config) { c.Profile.Service, c.Watch = ":22", WatchNone },
		"the profile": func(c *Config) { c.Profile.Service, c.Profile.Watch = ":22", WatchNone },
	} {
		var bases []uint32
		at, open := bindKnockPorts(t, profile())
		cfg := Config{
			Profile: profile(), Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")},
			Now: func() time.Time { return at },
			Report: func(e Event) {
				if sent, ok := e.(Sent); ok {
					bases = append(bases, sent.Base)
					if sent.Previous != (len(bases) == 2) {
						t.Errorf("%s: sequence %d: %+v", name, len(bases), sent)
					}
				}
			},
		}
		change(&cfg)
		result, err := Knock(t.Context(), cfg)
		if err != nil || result.Attempts != 2 || result.Watched || result.UDP != (name == "UDP service") {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		if !slices.Equal(bases, []uint32{0, 3, 6}) {
			t.Errorf("%s: bases %v", name, bases)
		}
		for _, c := range open {
			c.Close()
		}
		cfg.Report = nil
		var offline *OfflineError
		if _, err = Knock(t.Context(), cfg); canReceiveICMP && (!errors.As(err, &offline) || offline.Attempts > 2 ||
			!strings.Contains(offline.Hint(), "(port unreachable) came for ")) {
			t.Errorf("%s: without a server: %v", name, err)
		}
	}
}

func TestKnockRefusesAnIncompleteProfile(t *testing.T) {
	for name, change := range map[string]func(*Profile){
		"server": func(p *Profile) { p.Server = "" }, "secret": func(p *Profile) { p.Secret = nil },
		"port secret": func(p *Profile) { p.PortSecret = "" }, "ports": func(p *Profile) { p.Ports = 129 },
		"identifier": func(p *Profile) { p.Identifier[0] = 0 }, "service": func(p *Profile) { p.Service = "22" },
		"protocol": func(p *Profile) { p.Service = ":22/sctp" }, "watch": func(p *Profile) { p.Watch = "often" },
	} {
		p := profile()
		change(&p)
		f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
		if _, err := Knock(t.Context(), Config{Profile: p, Nonces: f, Now: time.Now}); err == nil {
			t.Errorf("%s accepted", name)
		}
		if _, err := os.Stat(f.Path); err == nil {
			t.Errorf("%s: nonces were reserved", name)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, row := range []struct {
		server, service string
		family          Family
		knock, watched  string
	}{
		{"127.0.0.1", "127.0.0.1:22", AnyFamily, "127.0.0.1", "127.0.0.1:22"},
		{"127.0.0.1", ":22", IPv4, "127.0.0.1", "127.0.0.1:22"},
		{"127.0.0.1", "127.0.0.2:22", AnyFamily, "127.0.0.1", "127.0.0.2:22"},
		{"::1", "[::1]:22", IPv6, "::1", "[::1]:22"},
		{"::ffff:127.0.0.1", ":22", AnyFamily, "127.0.0.1", "127.0.0.1:22"},
	} {
		p := profile()
		p.Server, p.Service = row.server, row.service
		targets, err := resolve(t.Context(), p, row.family, nobody)
		if err != nil || len(targets) != 1 || targets[0].knock.String() != row.knock || targets[0].service.String() != row.watched {
			t.Errorf("%+v: %+v, %v", row, targets, err)
		}
	}
	p := profile()
	// The service has an address of one family, and the server of both.
	p.Server, p.Addresses = "gate", []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	for host, knock := range map[string]string{"192.0.2.7": "192.0.2.1", "2001:db8::7": "2001:db8::1"} {
		p.Service = net.JoinHostPort(host, "22")
		targets, err := resolve(t.Context(), p, AnyFamily, nobody)
		if err != nil || len(targets) != 1 || targets[0].knock.String() != knock || targets[0].service.String() != p.Service {
			t.Errorf("%s: %+v, %v", host, targets, err)
		}
		var none *ResolveError
		other := map[bool]Family{true: IPv6, false: IPv4}[strings.Contains(host, ".")]
		if _, err := resolve(t.Context(), p, other, nobody); !errors.As(err, &none) || !none.knocks.IsValid() {
			t.Errorf("%s: %v", host, err)
		}
	}
	p = profile()
	for want, e := range map[string]ResolveError{
		"found no IPv6 address of gate. omit -6, or check the name in the profile": {
			Host: "gate", Family: IPv6, err: &net.AddrError{Err: "no suitable address found", Addr: "gate"},
		},
		"found no IPv4 address of gate. omit -4, or check the name in the profile": {
			Host: "gate", Family: IPv4, err: &net.DNSError{Err: "no such host", IsNotFound: true},
		},
		"192.0.2.1 is not an IPv6 address. omit -6": {Host: "192.0.2.1", Family: IPv6, err: errOtherFamily},
		"found no IPv6 address of inner. the knocks go to 2001:db8::1, and the service must have an address of the same family": {
			Host: "inner", Family: IPv6, err: &net.DNSError{IsNotFound: true}, knocks: netip.MustParseAddr("2001:db8::1"),
		},
		"find an IPv6 address of inner: lookup inner: timeout. check the name of the service's host, and whether this computer is online and can resolve names": {
			Host: "inner", Family: IPv6, err: &net.DNSError{Name: "inner", Err: "timeout"}, knocks: netip.MustParseAddr("2001:db8::1"),
		},
		"find an IPv6 address of gate: lookup gate: timeout. check the name in the profile, and whether this computer is online and can resolve names": {
			Host: "gate", Family: IPv6, err: &net.DNSError{Name: "gate", Err: "timeout"},
		},
		"find an address of gate: lookup gate: no such host. check the name in the profile, and whether this computer is online and can resolve names": {
			Host: "gate", err: &net.DNSError{Name: "gate", Err: "no such host", IsNotFound: true},
		},
	} {
		if got := e.Error() + ". " + e.Hint(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	var resolveErr *ResolveError
	_, err := resolve(t.Context(), p, IPv6, nobody)
	if !errors.As(err, &resolveErr) || !strings.Contains(err.Error(), "IPv6") {
		t.Errorf("an IPv4 address with -6: %v", err)
	}
}

func nobody() []netip.Addr { return nil }

// connectOnce makes one connection, and lets it prove itself. Half: it is not completed.
func connectOnce(service netip.AddrPort, half bool, isn wire.ISN) (*Conn, error) {
	d, err := dial(service, isn)
	if err != nil {
		return nil, dialError(service, err)
	}
	if err := d.wait(); err != nil {
		d.close()
		return nil, dialError(service, err)
	}
	if half {
		d.close()
		return nil, nil
	}
	tcp, err := d.finish()
	if err != nil {
		return nil, dialError(service, err)
	}
	c := newConn(tcp)
	if err := c.prove(proofTime(time.Since(d.begun))); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func TestProbeDetectsClosedConnection(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
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
	for err = nil; err == nil; { // on a busy machine, the end may come too late
		var c *Conn
		if c, err = connectOnce(netip.MustParseAddrPort(l.Addr().String()), false, 0); err == nil {
			c.Close()
		}
	}
	if !errors.Is(err, errClosedAtOnce) {
		t.Fatalf("got %v", err)
	}
	if !closedByProgram(err) {
		t.Errorf("got %v", err)
	}
}
