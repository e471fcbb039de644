package ingest

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/verify/wire"
)

func socketCounts(s *Receiver) TierCounts {
	tiers := s.Stats().Tiers
	return tiers[len(tiers)-1]
}

// TestRefusedApartFromFull: in a namespace where no other program receives, the
// counts are exact. Full queues are of either kind, as far as the tier knows.
func TestRefusedApartFromFull(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, address := range []netip.Addr{loop4, loop6} {
		s := startWith(t, 3, func(c *Config) { c.Readers = 1 }, address)
		ports, _ := portsOf(3)(minute)
		c, err := net.Dial("udp", netip.AddrPortFrom(address, ports[0]).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		bad := func(n int) {
			for range n {
				c.Write([]byte("nonsense"))
			}
		}
		bad(1000)
		s.refresh(t)
		got := socketCounts(s.Receiver)
		if got.Refused != 1000 || got.Full != 0 || got.Either != 0 || got.Level != prefilter.Clients || !got.Counted {
			t.Errorf("%s: %+v", address, got)
		}
		full := overflow(t, s, c)
		bad(500)
		s.refresh(t)
		got = socketCounts(s.Receiver)
		if got.Refused != 1500 || got.Either != full || got.Full != 0 || s.Stats().Kernel != 1500+full {
			t.Errorf("%s: %d found a full queue: %+v", address, full, got)
		}
		bad(100)
		s.refresh(t)
		if got := socketCounts(s.Receiver); got.Refused != 1600 || got.Either != full {
			t.Errorf("%s: after the overflow: %+v", address, got)
		}
		s.stop()
	}
}

// overflow fills the queue of a receiver's only reader, and returns how many
// datagrams found no room.
func overflow(t *testing.T, s testReceiver, c net.Conn) uint64 {
	t.Helper()
	src := s.readers[0].source.(*socketSource)
	// The reader waits for this lock before it reads another round.
	src.mu.Lock()
	before, _ := new(drops).queueOverflows()
	d := knock(t, minute, 0, 2)
	d[wire.OffsetMAC] ^= 1
	for full := before; full < before+100; full, _ = new(drops).queueOverflows() {
		for range 1000 {
			c.Write(d)
		}
	}
	src.mu.Unlock()
	after, _ := new(drops).queueOverflows()
	return after - before
}

func TestWithoutAFilterAllFoundAFullQueue(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := startWith(t, 3, func(c *Config) { c.Readers, c.Unfiltered = 1, true }, loop4)
	ports, _ := portsOf(3)(minute)
	c, err := net.Dial("udp", netip.AddrPortFrom(loop4, ports[0]).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	full := overflow(t, s, c)
	s.refresh(t)
	got := socketCounts(s.Receiver)
	if got.Full != full || got.Refused != 0 || got.Either != 0 || got.Level != prefilter.None {
		t.Errorf("%d found a full queue: %+v", full, got)
	}
}

func TestFullQueuesAreFound(t *testing.T) {
	const v4 = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\nUdp: 5 6 70 8 40 1 2 3 20\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 1 1000\n"
	if n, ok := fullQueues4([]byte(v4)); n != 60 || !ok {
		t.Errorf("got %d, %v", n, ok)
	}
	const old = "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 5 6 70 8 40 1\n" // before 5.14
	if n, ok := fullQueues4([]byte(old)); n != 40 || !ok {
		t.Errorf("got %d, %v", n, ok)
	}
	for _, text := range []string{"", "Udp: InDatagrams\n", "Udp: InDatagrams\nUdp: 1\n", "Udp: RcvbufErrors\nUdp: x\n", "Udp: RcvbufErrors\nUdp:\n"} {
		if n, ok := fullQueues4([]byte(text)); ok {
			t.Errorf("%q: got %d", text, n)
		}
	}
	n := fullQueues6([]byte("Udp6InErrors 9\nUdp6RcvbufErrors   \t3\nUdp6MemErrors 4\nUdpLite6RcvbufErrors 7\n"))
	if n != 7 {
		t.Errorf("got %d", n)
	}
}

// TestCountersThatAreCutOff: a file that does not fit is an error, and is not read in part.
func TestCountersThatAreCutOff(t *testing.T) {
	var d drops
	path := filepath.Join(t.TempDir(), "counters")
	for n, want := range map[int]bool{21 << 10: true, len(d.text): false, len(d.text) + 1: false} {
		if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		if text, err := d.read(path); (err == nil) != want || want && len(text) != n {
			t.Errorf("%d bytes: got %d, %v", n, len(text), err)
		}
	}
}
