package ingest

import (
	"errors"
	"log/slog"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/schedule"
)

// told is what a server has said of its ports.
type told struct {
	mu   sync.Mutex
	last map[uint16]time.Time
	n    int
}

func (o *told) opened(ports map[uint16]time.Time) error {
	// They are open by now, or closed.
	for p := range ports {
		if l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loop4.AsSlice(), Port: int(p)}); err == nil {
			l.Close()
			return errors.New("a port that nobody listens on")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = ports
	o.n++
	return nil
}

func (o *told) get() (map[uint16]time.Time, int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.n
}

func TestKnockSetHasOurPorts(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const tolerance = time.Minute
	at := func(m schedule.Minute, i int) uint16 { p, _ := portsOf(3)(m); return p[i] }
	want := func(first schedule.Minute) map[uint16]time.Time {
		ports := map[uint16]time.Time{at(minute, 2): (first + 3).Start().Add(tolerance)}
		for m := first; m < first+3; m++ {
			for i := range 2 {
				ports[at(m, i)] = (m + 1).Start().Add(tolerance)
			}
		}
		return ports
	}
	// Another program has one of the ports, at one of the addresses.
	held := at(minute, 0)
	l, err := net.ListenUDP("udp6", &net.UDPAddr{IP: loop6.AsSlice(), Port: int(held)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var o told
	s := startWith(t, 3, func(c *Config) { c.KnockPorts = o.opened }, loop4, loop6)
	own := want(minute - 1)
	delete(own, held)
	got, _ := o.get() // before it is ready
	if !maps.Equal(got, own) {
		t.Errorf("told of %v, want %v", got, own)
	}
	l.Close()
	wait(t, "the port that was held", func() bool { got, _ := o.get(); return maps.Equal(got, want(minute-1)) })
	_, before := o.get()
	if err := s.update(Terms{rules(t, 3), listsOf(3)}); err != nil {
		t.Fatal(err)
	}
	if _, n := o.get(); n != before {
		t.Errorf("told again of what had not changed")
	}
	s.clock.Set((minute + 1).Start())
	wait(t, "the turn of the minute", func() bool { got, _ := o.get(); return maps.Equal(got, want(minute)) })
}

func TestKnockSetThatFailsEndsRun(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	deaf := errors.New("deaf")
	c := clock{now: minute.Start()}
	s, err := New(Config{
		Terms: Terms{rules(t, 3), listsOf(3)}, Sink: make(sink), Now: c.Now, Log: slog.New(slog.DiscardHandler),
		KnockPorts: func(map[uint16]time.Time) error { return deaf },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, deaf) {
		t.Errorf("got %v", err)
	}
}
