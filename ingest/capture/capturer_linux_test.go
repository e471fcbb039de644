package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
)

var testSettings = Settings{First: 20000, Last: 20099}

// connection returns both ends of a connection between capturer and server.
func connection(t testing.TB) (capturer, server *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	capturer, server = os.NewFile(uintptr(pair[0]), "capturer"), os.NewFile(uintptr(pair[1]), "server")
	t.Cleanup(func() {
		capturer.Close()
		server.Close()
	})
	return capturer, server
}

// startCapturer starts a capturer in this process, and returns the server's end.
func (w *network) startCapturer() *os.File {
	w.Helper()
	capturer, server := connection(w)
	sockets, err := OpenSockets(testSettings, 0)
	w.must(err)
	done := make(chan error, 1)
	go func() {
		done <- Serve(context.Background(), capturer, sockets, testSettings, nil, slog.New(slog.DiscardHandler))
	}()
	w.Cleanup(func() {
		server.Close() // with which the capturer ends
		select {
		case err := <-done:
			if err != nil {
				w.Error(err)
			}
		case <-time.After(time.Until(netns.Deadline(w))):
			w.Error("the capturer did not end with its server")
		}
	})
	return server
}

// TestCapturerWithoutServer: a server that ends before it begins is no error of the
// capturer.
func TestCapturerWithoutServer(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t, bound)
	capturer, server := connection(w)
	sockets, err := OpenSockets(testSettings, 0)
	w.must(err)
	server.Close()
	w.must(Serve(context.Background(), capturer, sockets, testSettings, nil, slog.New(slog.DiscardHandler)))
}

// TestCapturerAnswersPacketsOnce: a server that an attacker controls can answer
// packets that have arrived, and send nothing else.
func TestCapturerAnswersPacketsOnce(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t, bound) // the ports are bound: the kernel's own answers do not disturb
	server := w.startCapturer()
	rc, err := server.SyscallConn()
	w.must(err)
	b := make([]byte, maxBatch)
	if n, err := receiveMessage(rc, b); err != nil || !strings.Contains(string(b[:n]), "20000") {
		t.Fatalf("%q, %v", b[:n], err)
	}
	c := w.dial("198.51.100.1:20010")
	_, err = c.Write(nil)
	w.must(err)
	var m batchMessage
	for len(m.packets) == 0 {
		n, err := receiveMessage(rc, b)
		w.must(err)
		m, err = parseBatch(b[:n], nil)
		w.must(err)
	}
	send := func(number uint64, payload string) {
		message := append(binary.BigEndian.AppendUint64(nil, number), payload...)
		w.must(rc.Control(func(fd uintptr) { err = unix.Sendmsg(int(fd), message, nil, nil, 0) }))
		w.must(err)
	}
	send(m.first+1, "no such packet")
	send(m.first+latest, "nor this one")
	send(m.first, strings.Repeat("x", maxAnswer)) // too long
	send(m.first, "")
	send(m.first, "challenge")
	send(m.first, "again")
	for m.unsent < 5 {
		n, err := receiveMessage(rc, b)
		w.must(err)
		m, err = parseBatch(b[:n], nil)
		w.must(err)
	}
	w.must(c.SetReadDeadline(netns.Deadline(w)))
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != "challenge" {
		t.Errorf("received %q, %v", b[:n], err)
	}
	w.must(c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)))
	if n, err := c.Read(b); err == nil {
		t.Errorf("received %q too", b[:n])
	}
}

// TestCapturerEnds: the server notices the end of its capturer, and refuses one for other
// ports.
func TestCapturerEnds(t *testing.T) {
	cfg := Config{Settings: testSettings, Sink: new(discard), Log: slog.New(slog.DiscardHandler)}
	capturer, server := connection(t)
	if _, err := unix.Write(int(capturer.Fd()), []byte(`{"First":20000,"Last":20098}`)); err != nil {
		t.Fatal(err)
	}
	cfg.Capturer = server
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "changed while") {
		t.Errorf("other ports: %v", err)
	}
	capturer, server = connection(t)
	capturer.Close()
	cfg.Capturer = server
	if _, err := Open(cfg); !errors.Is(err, errCapturerEnded) {
		t.Errorf("before it began: %v", err)
	}
	capturer, server = connection(t)
	if _, err := unix.Write(int(capturer.Fd()), []byte(`{"First":20000,"Last":20099}`)); err != nil {
		t.Fatal(err)
	}
	cfg.Capturer = server
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- c.Run(t.Context()) }()
	capturer.Close()
	if err := <-done; !errors.Is(err, errCapturerEnded) {
		t.Errorf("while the server ran: %v", err)
	}
}

// TestFiltersAreLocked: a process with the sockets cannot remove or replace their
// filters.
func TestFiltersAreLocked(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	o, err := OpenSockets(testSettings, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if n := len(o.Files()); n != 4 {
		t.Errorf("%d sockets", n)
	}
	for name, f := range o.Files() {
		rc, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = rc.Control(func(fd uintptr) {
			for what, err := range map[string]error{
				"detach": unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0),
				"attach": prefilter.Attach(int(fd), prefilter.RefuseAll()),
				"unlock": unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 0),
			} {
				if !errors.Is(err, unix.EPERM) {
					t.Errorf("%s, %s: %v", name, what, err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func somePackets() []Packet {
	ap := netip.MustParseAddrPort
	return []Packet{
		{ap("192.0.2.1:1"), ap("198.51.100.1:20000"), 1764173000123456789, 0},
		{ap("[2001:db8::2]:65535"), ap("[2001:db8::1]:20099"), 1764173000123456789, 0},
		{ap("[fe80::1%7]:5"), ap("[fe80::2%7]:20001"), 1764173000123456789, 0},
		{ap("[fe80::1%9]:5"), ap("[2001:db8::1]:20001"), 1764173000123456789, 0},
	}
}

func TestBatchMessages(t *testing.T) {
	want := batchMessage{1, 2, 3, 4, 1 << 60, somePackets()}
	got, err := parseBatch(want.append(nil), nil)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestMalformedMessages: each breaks one rule.
func TestMalformedMessages(t *testing.T) {
	whole := batchMessage{packets: somePackets()[:2]}.append(nil) // of IPv4, of IPv6
	change := func(at int, to byte) []byte {
		b := slices.Clone(whole)
		b[batchHeader+at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"no header":          whole[:batchHeader-1],
		"a part of a packet": whole[:len(whole)-1],
		"too many packets":   batchMessage{packets: make([]Packet, udp.BatchSize+1)}.append(nil),
		"no family":          change(0, 5),
		"IPv6, called IPv4":  change(packetSize, 4),
		"IPv4 to IPv6":       change(1+16, 0x20),
		"IPv4 from IPv6":     change(1, 0x20),
	} {
		if m, err := parseBatch(b, nil); !errors.Is(err, errMessage) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// FuzzBatch: a batch that parses is the same after it was written again.
func FuzzBatch(f *testing.F) {
	f.Add(batchMessage{1, 2, 3, 4, 5, somePackets()}.append(nil))
	f.Add(batchMessage{}.append(nil))
	f.Add(make([]byte, batchHeader+packetSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseBatch(b, nil)
		if err != nil {
			return
		}
		again, err := parseBatch(m.append(nil), nil)
		if err != nil || !reflect.DeepEqual(again, m) || len(m.packets) > udp.BatchSize {
			t.Errorf("%+v, then %+v, %v", m, again, err)
		}
	})
}

// BenchmarkCapturer is the additional way of a packet: from a full batch in one
// goroutine to the sink of another.
func BenchmarkCapturer(b *testing.B) {
	ours, theirs := connection(b)
	rc, err := ours.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	packets := make([]Packet, udp.BatchSize)
	for i := range packets {
		packets[i] = somePackets()[i%2]
	}
	c := newCapturer(rc, nil, func() {})
	sink := new(discard)
	s := &capturerSource{cfg: Config{Sink: sink}, counts: new(counts), capturer: theirs}
	if s.conn, err = theirs.SyscallConn(); err != nil {
		b.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.run(context.Background()) }()
	for b.Loop() {
		c.Take(packets)
	}
	ours.Close()
	<-done
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sink.n), "ns/pkt")
}
