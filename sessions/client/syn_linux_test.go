package client

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/capture"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// FuzzReadChallenges: reading ends, and each challenge has a possible size.
func FuzzReadChallenges(f *testing.F) {
	f.Add([]byte("\x02\x03one\x05seven"))
	f.Add([]byte("\x01\x00"))
	f.Add([]byte("\x02\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := readChallenges(bytes.NewReader(b))
		size := 1
		for _, c := range all {
			if len(c) == 0 || len(c) > exchange.MaxChallenge {
				t.Errorf("a challenge of %d bytes", len(c))
			}
			size += 1 + len(c)
		}
		if err == nil && (len(all) != int(b[0]) || size > len(b)) {
			t.Errorf("%d challenges of %q", len(all), b)
		}
	})
}

// TestFetchesItsChallenge: the port is closed at first, then has only challenges of
// others behind the same address, and then the client's too.
func TestFetchesItsChallenge(t *testing.T) {
	self := netip.MustParseAddr("127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	s, err := newSYNConn(self, at.Port())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.address() != self {
		t.Errorf("this computer's address is %s", s.address())
	}
	o, err := exchange.NewOperation("web-alice-", "a secret", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := exchange.NewInitiator(o, self, self, [exchange.NonceSize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	right := challengeFor(t, o, self, self)
	other := challengeFor(t, o, netip.MustParseAddr("10.0.0.9"), self)
	l.Close()
	go func() {
		time.Sleep(20 * time.Millisecond)
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			message := append([]byte{1, byte(len(other))}, other...)
			switch i {
			case 0:
				message = nil // it has nothing
			case 2:
				message = []byte{3, 2, 'x'} // it breaks off
			case 3:
				message[0] = 2
				message = append(append(message, byte(len(right))), right...)
			}
			conn.Write(message)
			conn.Close()
		}
	}()
	var found exchangeFindings
	answer, err := s.awaitChallenge(c, 20*time.Second, nil, &found)
	if err != nil || answer.Public != self || found.forged != 2 {
		t.Errorf("%+v, %v, found %+v", answer, err, found)
	}
	// Close ends the wait.
	if s, err = newSYNConn(netip.MustParseAddr("127.0.0.2"), at.Port()); err != nil { // nothing listens there
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.awaitChallenge(c, time.Hour, nil, &exchangeFindings{})
		done <- err
	}()
	s.Close()
	if err := <-done; err == nil {
		t.Errorf("after Close: %v", err)
	}
}

// challengeFor returns the server's challenge for a request that names self.
func challengeFor(t *testing.T, o *exchange.Operation, self, server netip.Addr) []byte {
	t.Helper()
	ports := challenge.Ports{First: 20000, Last: 21839}
	ops, err := exchange.NewOperations([]*exchange.Operation{o}, challenge.Plan{Request: narrow, Response: above, Ports: ports})
	if err != nil {
		t.Fatal(err)
	}
	c, err := exchange.NewInitiator(o, self, server, [exchange.NonceSize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	codec, err := narrow.Codec(len(c.Request()))
	if err != nil {
		t.Fatal(err)
	}
	list, err := codec.AppendPorts(nil, c.Request())
	if err != nil {
		t.Fatal(err)
	}
	r := &exchange.NewResponders(1, ops)[0]
	r.Begin(ops.Kinds(self)[0])
	for _, port := range list {
		if !r.Request(port, time.Now()) {
			t.Fatalf("port %d is not of the request", port)
		}
	}
	b, err := r.Challenge(nil, netip.MustParseAddr("127.0.0.1"), server, [exchange.NonceSize]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sources records the packets that arrive.
type sources struct {
	mu  sync.Mutex
	all []capture.Packet
}

func (s *sources) Take(p []capture.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p...)
}

// TestSendsOneSYNForEachPort, in order, all from one port, also where a program
// listens; and none a second time.
func TestSendsOneSYNForEachPort(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	sink := new(sources)
	c, err := capture.Open(capture.Config{Settings: capture.Settings{First: 20000, Last: 21839, TCP: true}, Sink: sink, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	go c.Run(t.Context())
	l, err := net.Listen("tcp", ":20003") // of another program
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	message := []byte{0, 0x12, 0x34, 0x56, 0x78, 0x9a}
	codec, err := narrow.Codec(len(message))
	if err != nil {
		t.Fatal(err)
	}
	want, err := codec.AppendPorts(nil, message)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"127.0.0.1", "::1"} {
		s, err := newSYNConn(netip.MustParseAddr(server), 30720)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.sendMessage(t.Context(), codec, message); err != nil {
			t.Fatal(err)
		}
		received := func() []capture.Packet {
			sink.mu.Lock()
			defer sink.mu.Unlock()
			return slices.Clone(sink.all)
		}
		netns.Until(t, "the SYNs", func() bool { return len(received()) >= len(want) }, func() string { return fmt.Sprint(received()) })
		time.Sleep(1200 * time.Millisecond) // the kernel would send a SYN again after a second
		got := received()
		for i, p := range got {
			if len(got) != len(want) || p.Destination.Port() != want[i] || p.Source != s.local || p.Source.Addr().String() != server {
				t.Fatalf("received %v, want a SYN to each of %v, from %s", got, want, s.local)
			}
		}
		s.Close()
		sink.mu.Lock()
		sink.all = nil
		sink.mu.Unlock()
	}
}
