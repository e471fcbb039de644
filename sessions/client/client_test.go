package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

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

func TestNoncesNeverRepeat(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "deep", "nonce")}
	var mu sync.Mutex
	seen := map[uint32]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 20 {
				base, _, err := f.Reserve(t.Context(), "com1", 3, noon.Add(time.Duration(i)*time.Hour))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for n := base; n < base+3; n++ {
					if seen[n] {
						t.Errorf("nonce %d twice", n)
					}
					seen[n] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, path := range []string{f.Path, f.Path + ".lock"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o", path, info.Mode().Perm())
		}
	}
	if _, err := os.Stat(f.Path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a temporary file is left: %v", err)
	}
}

func TestNonceIsOnDiskBeforeUse(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	for want := uint32(0); want < 9; want += 3 {
		base, moved, err := f.Reserve(t.Context(), "com1", 3, noon)
		if err != nil || base != want || moved {
			t.Fatalf("got %d, %v, want %d", base, err, want)
		}
		text, err := os.ReadFile(f.Path)
		if err != nil || string(text) != (nonceRecord{next: uint64(want) + 3, unopened: 1}).String() {
			t.Fatalf("the file has %q, %v", text, err)
		}
		if err := f.Opened(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

var noon = time.Unix(1_800_000_000, 0)

// TestFailuresDoNotUseUpTheNonces: of attempts that open nothing, the second and the
// third jump, and the others use n nonces, or as many as seconds have passed.
func TestFailuresDoNotUseUpTheNonces(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce"), First: 1000}
	reserve := func(now time.Time) uint32 {
		t.Helper()
		base, _, err := f.Reserve(t.Context(), "com1", 3, now)
		if err != nil {
			t.Fatal(err)
		}
		return base
	}
	if reserve(noon) != 1000 {
		t.Error("the first attempt jumps")
	}
	target := uint32(jumpTarget(noon))
	if got := reserve(noon); got != target {
		t.Errorf("the second: %d, want %d", got, target)
	}
	if got := reserve(noon); got != target+nonceSkip {
		t.Errorf("the third: %d", got)
	}
	for i := range uint32(1000) {
		if got := reserve(noon.Add(time.Duration(i) * time.Second)); got != target+nonceSkip+3*(i+1) {
			t.Fatalf("attempt %d: %d", i, got)
		}
	}
	year := reserve(noon.Add(365 * 24 * time.Hour))
	if year > target+nonceSkip+366*24*3600 {
		t.Errorf("after a year: %d", year)
	}
}

// TestNoncesHeal: a device whose record is lost, or from a backup, and devices that
// use one profile in turn, get above the nonces that the server has accepted within
// three attempts, also if the server did not run for a time.
func TestNoncesHeal(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, now, highest := t.TempDir(), noon, int64(-1)
		device := func(n int) NonceFile {
			first := rapid.Uint32Range(0, upperHalf-1).Draw(rt, "first")
			return NonceFile{Path: filepath.Join(dir, strconv.Itoa(n)), Drawn: first}
		}
		for range rapid.IntRange(1, 20).Draw(rt, "uses") {
			f := device(rapid.IntRange(0, 2).Draw(rt, "device"))
			if rapid.IntRange(0, 3).Draw(rt, "lost") == 0 {
				os.Remove(f.Path)
			}
			down := rapid.Bool().Draw(rt, "down")
			for range rapid.IntRange(1, 5).Draw(rt, "knocks") {
				now = now.Add(time.Duration(rapid.IntRange(10, 100_000).Draw(rt, "seconds")) * time.Second)
				opened := false
				for attempt := 0; attempt < 3 && !opened; attempt++ {
					base, _, err := f.Reserve(t.Context(), "com1", 3, now)
					if err != nil {
						rt.Fatal(err)
					}
					opened = !down && int64(base) > highest
					if opened {
						highest = int64(base) + 2
						f.Opened(t.Context())
					}
				}
				if !opened && !down {
					rt.Fatalf("not above %d", highest)
				}
			}
		}
	})
}

// TestMovedIsAboutFailures: a move that only follows the clock does not count as one.
func TestMovedIsAboutFailures(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce"), First: 1000}
	for i, step := range []struct {
		after  time.Duration
		opened bool
		moved  bool
	}{
		{0, false, false},
		{0, true, true}, // to the upper half
		{48 * time.Hour, true, false},
		{48 * time.Hour, false, false},
		{48 * time.Hour, false, false},
		{0, true, true}, // by nonceSkip
		{48 * time.Hour, false, false},
		{48 * time.Hour, false, false},
		{48 * time.Hour, true, false},
	} {
		_, moved, err := f.Reserve(t.Context(), "com1", 3, noon.Add(time.Duration(i+1)*step.after))
		if err != nil || moved != step.moved {
			t.Errorf("step %d: moved %v, %v", i, moved, err)
		}
		if step.opened {
			f.Opened(t.Context())
		}
	}
}

// TestEarlierFile: the file of an earlier release is used for the secret that the
// client has then.
func TestEarlierFile(t *testing.T) {
	dir := t.TempDir()
	f := NonceFile{Path: filepath.Join(dir, "new"), Earlier: filepath.Join(dir, "old"), First: 77}
	if err := os.WriteFile(f.Earlier, []byte("sallyport-nonce 1\nnext 4294967296\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var exhausted *ExhaustedError
	if _, _, err := f.Reserve(t.Context(), "com1", 3, noon); !errors.As(err, &exhausted) {
		t.Errorf("got %v", err)
	}
	f.Path = filepath.Join(dir, "rotated")
	if base, _, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil || base != 77 {
		t.Errorf("after a rotation: %d, %v", base, err)
	}
}

func TestExhaustedNonces(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	write := func(next uint64) string {
		text := nonceRecord{next: next, unopened: 2}.String()
		if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return text
	}
	// Too few nonces are left to skip any.
	write(1<<32 - 3)
	if base, _, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil || base != 1<<32-3 {
		t.Errorf("the last three: %d, %v", base, err)
	}
	for _, next := range []uint64{1<<32 - 2, 1 << 32} {
		text := write(next)
		var exhausted *ExhaustedError
		if _, _, err := f.Reserve(t.Context(), "com1", 3, noon); !errors.As(err, &exhausted) || exhausted.Hint() == "" {
			t.Errorf("at %d: %v", next, err)
		}
		if got, _ := os.ReadFile(f.Path); string(got) != text {
			t.Errorf("at %d: the file changed to %q", next, got)
		}
	}
}

func TestDamagedNonceFileStays(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	for _, text := range []string{
		"", "5\n", "next 5\n", "sallyport-nonce 1\n", "sallyport-nonce 1\nnext 5", "sallyport-nonce 1\nnext 05\n", "sallyport-nonce 1\nnext -1\n",
		"sallyport-nonce 1\nnext 4294967297\n", "sallyport-nonce 1\nnext 5\nnext 6\n", "sallyport-nonce 2\nnext 5\n", "sallyport-nonce 3\nnext 5\n", "sallyport-nonce 2\nnext 5\nunopened 3\n",
	} {
		if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var damaged *DamagedError
		_, _, err := f.Reserve(t.Context(), "com1", 3, noon)
		if !errors.As(err, &damaged) || !strings.Contains(err.Error(), f.Path) {
			t.Errorf("%q: %v", text, err)
		}
		if got, _ := os.ReadFile(f.Path); string(got) != text {
			t.Errorf("%q changed to %q", text, got)
		}
	}
}

func TestNoNonceWithoutItsRecord(t *testing.T) {
	dir := t.TempDir()
	f := NonceFile{Path: filepath.Join(dir, "nonce")}
	if _, _, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil {
		t.Fatal(err)
	}
	// A directory has the name of the temporary file.
	if err := os.MkdirAll(filepath.Join(f.Path+".new", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if base, _, err := f.Reserve(t.Context(), "com1", 3, noon); err == nil {
		t.Errorf("reserved %d without a record", base)
	}
	if text, _ := os.ReadFile(f.Path); string(text) != (nonceRecord{next: 3, unopened: 1}).String() {
		t.Errorf("the file has %q", text)
	}
}

func FuzzParseNonce(f *testing.F) {
	for _, n := range []uint64{0, 5, 1 << 32} {
		f.Add(nonceRecord{next: n, unopened: 1}.String())
	}
	f.Add("sallyport-nonce 1\nnext 5\n")
	f.Add("sallyport-nonce 1\nnext 00\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseNonce(text)
		if err != nil || strings.HasPrefix(text, nonceHeader1) {
			return
		}
		if r.next > nonceCount || r.String() != text {
			t.Fatalf("%q became %+v", text, r)
		}
	})
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
	for errors.Is(err, syscall.EADDRINUSE) { // by another program
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
	if len(sent) != result.Attempts || sent[0].Base != 0 || sent[1].Base != uint32(jumpTarget(clock))+1 || sent[1].Packets[0].Port != port {
		t.Errorf("sent %+v", sent)
	}
	if len(resolved.Addresses) != 1 || resolved.Addresses[0] != result.Address || unanswered != len(sent)-1 {
		t.Errorf("resolved %+v, %d unanswered", resolved, unanswered)
	}
	for _, base := range []uint32{0, uint32(jumpTarget(clock)) + 1} { // between them, one to the port of the previous minute
		want, _ := Sequence(p, clock, base)
		if got := <-datagrams; !bytes.Equal(got, want[0].Datagram) {
			t.Errorf("sequence %d: sent %x", base, got)
		}
	}
}

func TestKnockWithoutServer(t *testing.T) {
	t.Parallel()
	p := profile()
	// Nothing listens: the host refuses knocks and connections.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Service = l.Addr().String()
	l.Close()
	var bases []uint32
	_, err = Knock(t.Context(), Config{
		Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: time.Second, NoWait: true,
		Now: func() time.Time { return now },
		Report: func(e Event) {
			switch e := e.(type) {
			case Sent:
				bases = append(bases, e.Base)
			case Unanswered:
				if !errors.Is(e.Err, syscall.ECONNREFUSED) || e.Service.String() != p.Service {
					t.Errorf("unanswered %+v", e)
				}
			}
		},
	})
	var offline *OfflineError
	if !errors.As(err, &offline) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("got %v", err)
	}
	if !offline.Up || !strings.HasPrefix(err.Error(), "127.0.0.1: the service "+p.Service+" did not open after ") {
		t.Errorf("got %v, up %v", err, offline.Up)
	}
	target := uint32(jumpTarget(now))
	want := []uint32{0, target, target + nonceSkip}
	if canReceiveICMP { // two attempts show that no knock arrives
		want = want[:2]
	}
	if !slices.Equal(bases, want) {
		t.Errorf("bases %v, want %v", bases, want)
	}
	hints := strings.Join(offline.Hints, "\n")
	for _, want := range []string{"port unreachable) for 6 knocks", "refuses connections", "clock"} {
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

// TestKnockUnwatched: the client makes all attempts. ICMP errors show that the knocks
// do not arrive.
func TestKnockUnwatched(t *testing.T) {
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
		if err != nil || result.Attempts != 3 || result.Watched || result.UDP != (name == "UDP service") {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		if !slices.Equal(bases, []uint32{0, 3, 6, 9}) {
			t.Errorf("%s: bases %v", name, bases)
		}
		for _, c := range open {
			c.Close()
		}
		cfg.Report = nil
		var offline *OfflineError
		if _, err = Knock(t.Context(), cfg); canReceiveICMP && (!errors.As(err, &offline) || offline.Attempts != 2 ||
			!strings.Contains(offline.Hint(), "(port unreachable) for 6 knocks")) {
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
		targets, err := resolve(t.Context(), p, row.family)
		if err != nil || len(targets) != 1 || targets[0].knock.String() != row.knock || targets[0].service.String() != row.watched {
			t.Errorf("%+v: %+v, %v", row, targets, err)
		}
	}
	p := profile()
	for want, e := range map[string]ResolveError{
		"found no IPv6 address of gate. omit -6, or check the name in the profile": {
			Host: "gate", Family: IPv6, err: &net.AddrError{Err: "no suitable address found", Addr: "gate"},
		},
		"found no IPv4 address of gate. omit -4, or check the name in the profile": {
			Host: "gate", Family: IPv4, err: &net.DNSError{Err: "no such host", IsNotFound: true},
		},
		"192.0.2.1 is not an IPv6 address. omit -6": {Host: "192.0.2.1", Family: IPv6, err: errOtherFamily},
		"found no IPv6 address of inner. the knocks go to 2001:db8::1, and the service must have an address of the same family: try -4": {
			Host: "inner", Family: IPv6, err: &net.DNSError{IsNotFound: true}, knocks: netip.MustParseAddr("2001:db8::1"),
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
	if _, err := resolve(t.Context(), p, IPv6); !errors.As(err, &resolveErr) || !strings.Contains(err.Error(), "IPv6") {
		t.Errorf("an IPv4 address with -6: %v", err)
	}
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
	_, err = probe(t.Context(), netip.MustParseAddrPort(l.Addr().String()), false, 0)
	if !errors.Is(err, errClosedAtOnce) {
		t.Fatalf("got %v", err)
	}
	if !closedByProgram(err) {
		t.Errorf("got %v", err)
	}
}

// TestHints: the first hint is about what the client saw. The clock is last, and never
// mentioned if the kernel synchronises it.
func TestHints(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:23")
	const blame = "Compare identifier, secret"
	for name, row := range map[string]struct {
		findings findings
		service  string // of the command line
		clock    Clock
		want     []string // a part of each hint
		not      string
	}{
		"refused": {
			findings{service: syscall.ECONNREFUSED}, "", ClockSynchronised, []string{blame}, "clock",
		},
		"other port": {
			findings{service: syscall.ECONNREFUSED}, "192.0.2.1:23", ClockUnsynchronised,
			[]string{"192.0.2.1:23 refuses connections. The service of the profile is :22: does the server hide port 23", "may be off"}, blame,
		},
		"other port, no answer": {
			findings{service: os.ErrDeadlineExceeded}, ":23", ClockUnknown,
			[]string{"192.0.2.1:23 does not answer. The service of the profile is :22", "compare this computer's clock"}, blame,
		},
		"the profile's port": {
			findings{service: os.ErrDeadlineExceeded}, "192.0.2.1:22", ClockSynchronised, []string{blame}, "of the profile",
		},
		"no server": {
			findings{refused: 3, service: syscall.ECONNREFUSED}, "", ClockSynchronised,
			[]string{"(port unreachable) for 3 knocks", "192.0.2.1:23 refuses connections"}, blame,
		},
		"no server, no answer": {
			findings{refused: 3, service: os.ErrDeadlineExceeded}, "", ClockSynchronised,
			[]string{"(port unreachable) for 3 knocks", "192.0.2.1:23 does not answer"}, "the host is down",
		},
		"nobody behind the port": {
			findings{service: syscall.ECONNREFUSED, before: beforeSilent}, "", ClockUnknown,
			[]string{"did not answer before the knock, and refuses connections since: the server lets this computer in"}, blame,
		},
		"refused before and after": {
			findings{service: syscall.ECONNREFUSED, before: beforeRefused}, "", ClockSynchronised,
			[]string{"refuses connections, as before the knock: the knocks were lost or not accepted, the server does not open"}, "clock",
		},
		"closed by the program": {
			findings{service: fmt.Errorf("%w: %w", errClosedAtOnce, io.EOF), before: beforeRefused}, "", ClockUnknown,
			[]string{"the program behind it does not run, or does not serve this computer. It refused connections before the knock, so the server has opened it"},
			"another address",
		},
		"reset at once": {
			findings{service: fmt.Errorf("%w: %w", errClosedAtOnce, syscall.ECONNRESET), before: beforeOpen}, "", ClockSynchronised,
			[]string{"open for another address, because this computer sends knocks and connections from different addresses"}, blame,
		},
		"a firewall": {
			findings{prohibited: 3, service: os.ErrDeadlineExceeded}, "", ClockSynchronised,
			[]string{"(prohibited) for 3 knocks: a firewall", "192.0.2.1:23 does not answer"}, "host is down",
		},
		"no host": {
			findings{unreachable: 3, service: syscall.EHOSTUNREACH}, "", ClockUnknown,
			[]string{"the host is down", "connections to 192.0.2.1:23 fail: no route to host"}, "clock",
		},
	} {
		p := profile()
		p.Server, p.Service = "192.0.2.1", ":22"
		row.findings.at = at
		hints := row.findings.hints(Config{Profile: p, Service: row.service}, row.clock, now)
		if len(hints) != len(row.want) {
			t.Errorf("%s: got %d hints, want %d: %q", name, len(hints), len(row.want), hints)
			continue
		}
		for i, want := range row.want {
			if !strings.Contains(hints[i], want) {
				t.Errorf("%s: hint %d is %q, want %q", name, i, hints[i], want)
			}
		}
		if text := strings.Join(hints, "\n"); strings.Contains(text, row.not) {
			t.Errorf("%s: %q in %q", name, row.not, text)
		}
	}
}

func TestOfflineError(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:22")
	for want, e := range map[string]OfflineError{
		"gate seems offline: no answer after one attempt":               {Server: "gate", Service: at, Attempts: 1},
		"gate: the service 192.0.2.1:22 did not open after one attempt": {Server: "gate", Service: at, Attempts: 1, Up: true},
		"gate: the service did not open after 3 attempts":               {Server: "gate", Attempts: 3, Up: true},
		"this computer cannot send to gate":                             {Server: "gate", Attempts: 1, unsent: true},
		"gate: the service 192.0.2.1:22 is open, but no program answers there": {
			Server: "gate", Service: at, Attempts: 1, Up: true, opened: true,
		},
		"gate: the knocks did not arrive: ICMP errors in 2 attempts": {Server: "gate", Attempts: 2, rejected: true},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e.Error(), want)
		}
	}
}

func TestSendHint(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{syscall.ENETUNREACH: "no route", syscall.EPERM: "allow outgoing UDP to ports 1 and above", syscall.EINVAL: "the error of the system"} {
		if got := sendHint(errno, "UDP to ports 1 and above"); !strings.Contains(got, want) {
			t.Errorf("%v: %s", errno, got)
		}
	}
}
