package ingest

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/udp"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// memory is a source without sockets, as a ring is that a driver fills.
type memory struct {
	queue chan arrival
	woken chan struct{}
	shut  chan struct{}
}

type arrival struct {
	data   []byte
	places []schedule.Place
	origin udp.Name
}

// add writes an entry of the batch.
func (a arrival) add(b *batch) {
	b.sizes[b.n] = uint8(copy(b.data[b.n][:], a.data))
	b.places[b.n], b.origins[b.n] = a.places, a.origin
	b.n++
}

func (m *memory) fill(b *batch, wait time.Duration) error {
	for b.n < batchSize {
		select {
		case a := <-m.queue:
			a.add(b)
			continue
		default:
		}
		if b.n > 0 || wait == 0 {
			return nil
		}
		select {
		case a := <-m.queue:
			a.add(b)
		case <-m.woken:
			return nil
		}
	}
	return nil
}

func (m *memory) wake() {
	select {
	case m.woken <- struct{}{}:
	default:
	}
}

func (m *memory) close() { close(m.shut) }

// TestAnotherSource: datagrams of a source that has no sockets go the same way,
// by a separate shard.
func TestAnotherSource(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	got := make(sink, 1024)
	m := &memory{queue: make(chan arrival, 300), woken: make(chan struct{}, 1), shut: make(chan struct{})}
	s, err := newReceiver(Config{
		Addresses: []netip.Addr{loop4}, Settings: Settings{Rules: rules(t, 3), Ports: listsOf(3)}, Sink: got,
		Now: func() time.Time { return minute.Start().Add(30 * time.Second) }, Log: slog.New(slog.DiscardHandler),
	}, m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	from := netip.MustParseAddrPort("192.0.2.7:5000")
	good, bad := knock(t, minute, 1, 2), bytes.Repeat([]byte{'X'}, 60)
	for range 100 {
		m.queue <- arrival{good, []schedule.Place{{Minute: minute, Index: 1}}, udp.NameOf(from)}
		m.queue <- arrival{good, []schedule.Place{{Minute: minute, Index: 0}}, udp.NameOf(from)}
		m.queue <- arrival{bad, nil, udp.NameOf(from)}
	}
	for range 100 {
		if d := <-got; d.source != from.Addr() || d.knock.Sequence() != 1 {
			t.Fatalf("got %+v", d)
		}
	}
	// The sockets are still read.
	ports, _ := portsOf(3)(minute)
	send(t, loop4, ports[1], good)
	if d := <-got; d.source != loop4 {
		t.Errorf("got %+v", d)
	}
	netns.Until(t, "all to be checked", func() bool { return s.Stats().Reasons[verify.Size] == 100 })
	st := s.Stats()
	if st.Received != 301 || st.Reasons[verify.Authentic] != 101 || st.Reasons[verify.Sequence] != 100 {
		t.Errorf("%+v", st)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-m.shut
}
