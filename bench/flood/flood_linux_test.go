package flood

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/netns"
)

const port = 4000

// network is a receiver here, and a generator on another host.
type network struct {
	t      *testing.T
	away   *netns.Host
	link   Link
	index  int
	socket *net.UDPConn
}

func newNetwork(t *testing.T) *network {
	w := &network{t: t, away: netns.NewHost(t)}
	netns.Connect(t, netns.End{Name: "here", Addresses: []string{"198.18.0.1/15"}}, w.away, netns.End{Name: "there", Addresses: []string{"198.18.0.2/15"}})
	if err := netns.ReceiveByQueue("here"); err != nil {
		t.Fatal(err)
	}
	here, err := net.InterfaceByName("here")
	if err != nil {
		t.Fatal(err)
	}
	w.link = Link{To: here.HardwareAddr, Host: netip.MustParseAddr("198.18.0.1")}
	if err := w.away.Do(func() error {
		there, err := net.InterfaceByName("there")
		if err == nil {
			w.index, w.link.From = there.Index, there.HardwareAddr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.socket, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.socket.Close() })
	w.socket.SetReadBuffer(4 << 20)
	return w
}

// frame returns a frame whose payload has a kind, a number and four variable
// bytes.
func (w *network) frame(kind byte, number, size int) []byte {
	payload := make([]byte, size)
	payload[0], payload[1] = kind, byte(number)
	source := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 1, byte(number)}), uint16(1000+number))
	return w.link.Frame(source, port, payload)
}

// play plays a stream, and returns the received payloads, in order. On a busy
// machine the generator may send fewer frames than wanted in the stream's time:
// then play repeats it with more time.
func (w *network) play(g Generator, s Stream, wanted int) (sent Sent, got [][]byte) {
	w.t.Helper()
	for ; len(got) < wanted; s.For = min(2*s.For, maxFor) {
		err := w.away.Do(func() (err error) {
			sent, err = g.Play(w.t.Context(), s)
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		got = w.receive(int(sent.Frames))
	}
	return sent, got
}

// receive returns n payloads. The link loses none, and the queue has room.
func (w *network) receive(n int) (got [][]byte) {
	w.t.Helper()
	for len(got) < n {
		b := make([]byte, 1500)
		size, from, err := w.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			w.t.Fatal(err)
		}
		if want := uint16(1000) + uint16(b[1]); from.Port() != want || from.Addr().As4()[3] != b[1] {
			w.t.Fatalf("from %s, want port %d", from, want)
		}
		got = append(got, b[:size])
	}
	return got
}

func playEverything(t *testing.T, newGenerator func(index, core int) (Generator, error)) {
	w := newNetwork(t)
	cores, err := clock.Cores()
	if err != nil {
		t.Fatal(err)
	}
	var g Generator
	if err := w.away.Do(func() (err error) {
		g, err = newGenerator(w.index, cores[0])
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	s := Stream{Every: 3, Rate: 5000, For: 100 * time.Millisecond}
	for i := range 4 {
		s.Flood = append(s.Flood, w.frame('f', i, 20+i))
	}
	for i := range 7 {
		s.Honest = append(s.Honest, w.frame('h', i, 17))
	}
	t.Run("in order, by count", func(t *testing.T) {
		sent, got := w.play(g, s, 50)
		honest, flood, since := 0, 0, 0
		for i, b := range got {
			want := []byte{'f', byte(flood % 4)}
			size := 20 + flood%4
			if b[0] == 'h' {
				if since < 1 || since > 2*s.Every-1 {
					t.Errorf("%d of the flood before honest datagram %d", since, honest)
				}
				want, size, since = []byte{'h', byte(honest)}, 17, 0
				honest++
			} else {
				flood++
				since++
			}
			if !bytes.HasPrefix(b, want) || len(b) != size {
				t.Fatalf("datagram %d is %q of %d bytes, want %q of %d", i, b[:2], len(b), want, size)
			}
		}
		if honest != len(s.Honest) {
			t.Errorf("%d honest datagrams", honest)
		}
		for i, at := range sent.Honest {
			if now := clock.Monotonic(); at <= 0 || at > now || i > 0 && at < sent.Honest[i-1] {
				t.Errorf("honest frame %d sent at %d, before that %v", i, at, sent.Honest[:i])
			}
		}
	})
	t.Run("honest ones alone", func(t *testing.T) {
		alone := s
		alone.Flood, alone.Every = nil, 1
		sent, got := w.play(g, alone, 7)
		if len(got) != 7 || sent.Frames != 7 {
			t.Errorf("%d frames sent, %d came", sent.Frames, len(got))
		}
	})
	t.Run("replies", func(t *testing.T) {
		replies := make(chan []byte, 3)
		for i := range 3 {
			replies <- w.frame('r', i, 17)
		}
		replying := s
		replying.Replies = replies
		if g.Name() != "sendmmsg" {
			if _, err := g.Play(t.Context(), replying); err == nil {
				t.Error("played")
			}
			return
		}
		_, got := w.play(g, replying, 50)
		var honest []byte
		since := 0
		for _, b := range got {
			if b[0] == 'f' {
				since++
				continue
			}
			if since < 1 || since > 2*s.Every-1 {
				t.Errorf("%d of the flood before %q", since, b[:2])
			}
			honest, since = append(honest, b[:2]...), 0
		}
		if want := "r\x00r\x01r\x02h\x00h\x01"; !bytes.HasPrefix(honest, []byte(want)) {
			t.Errorf("honest datagrams %q, want first %q", honest, want)
		}
	})
	t.Run("varied", func(t *testing.T) {
		varied := s
		varied.Honest = nil
		varied.Vary = Vary{Offset: 4, Base: [4]byte{0x40, 0x41, 0, 0}, Mask: [4]byte{0x0f, 0, 0, 0xf0}}
		_, got := w.play(g, varied, 50)
		seen := map[uint32]bool{}
		for _, b := range got {
			if b[4]&0xf0 != 0x40 || b[5] != 0x41 || b[6] != 0 || b[7]&0x0f != 0 {
				t.Fatalf("got % x", b[4:8])
			}
			seen[binary.BigEndian.Uint32(b[4:])] = true
		}
		if len(seen) < 10 {
			t.Errorf("%d different ones of %d", len(seen), len(got))
		}
	})
	t.Run("at the maximum speed, until it is stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.away.Do(func() error {
			_, err := g.Play(ctx, Stream{Flood: s.Flood, For: maxFor})
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	for name, bad := range map[string]Stream{
		"no frames":          {For: time.Second},
		"no end":             {Flood: s.Flood},
		"too long":           {Flood: s.Flood, For: 2 * maxFor},
		"honest where":       {Flood: s.Flood, Honest: s.Honest, For: time.Second},
		"honest without end": {Honest: s.Honest, Every: 1, For: time.Second},
		"a long frame":       {Flood: [][]byte{w.frame('f', 0, maxFrame)}, For: time.Second},
		"a short frame":      {Flood: [][]byte{{1}}, For: time.Second},
	} {
		if _, err := g.Play(t.Context(), bad); err == nil {
			t.Errorf("%s: played", name)
		}
	}
}

func TestPacket(t *testing.T) {
	t.Parallel()
	if netns.Enter(t) {
		playEverything(t, NewPacket)
	}
}

func TestXDP(t *testing.T) {
	if netns.EnterPrivileged(t) {
		playEverything(t, NewXDP)
	}
}

func TestXDPRequiresPrivileges(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	if _, err := NewXDP(1, 0); err == nil {
		t.Error("it works without privileges of the host")
	}
}
