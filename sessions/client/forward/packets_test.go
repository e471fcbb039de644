package forward

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/syserror"
)

// datagrams is a local UDP socket in memory.
type datagrams struct {
	in      chan datagram
	done    chan struct{}
	once    sync.Once
	mu      sync.Mutex
	answers map[netip.AddrPort][]string
}

type datagram struct {
	from netip.AddrPort
	text string
}

func newDatagrams() *datagrams {
	return &datagrams{in: make(chan datagram), done: make(chan struct{}), answers: map[netip.AddrPort][]string{}}
}

func (d *datagrams) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case x := <-d.in:
		return copy(b, x.text), x.from, nil
	case <-d.done:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (d *datagrams) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[to] = append(d.answers[to], string(b))
	return len(b), nil
}

func (d *datagrams) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

func (d *datagrams) send(source uint16, text string) {
	d.in <- datagram{from(source), text}
}

func (d *datagrams) got(source uint16) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.answers[from(source)]
}

func from(source uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), source)
}

// upstream is the socket of a flow, to a service that echoes.
type upstream struct {
	net.Conn
	to   string
	w    *remote
	mu   sync.Mutex
	cond *sync.Cond
	back []string
	dead bool
	when time.Time

	refused bool
}

func (w *remote) flow(to string) net.Conn {
	u := &upstream{to: to, w: w}
	u.cond = sync.NewCond(&u.mu)
	return u
}

func (u *upstream) Write(b []byte) (int, error) {
	u.w.mu.Lock()
	lost := u.w.lossy || !time.Now().Before(u.w.open) || u.w.moved.IsValid() && u.to != netip.AddrPortFrom(u.w.moved, 80).String()
	if !lost && !u.w.refuses {
		u.w.echoed = append(u.w.echoed, string(b))
	}
	refused := u.w.refuses
	u.w.mu.Unlock()
	if refused {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.refused = true
		u.cond.Broadcast()
	} else if !lost {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.back = append(u.back, string(b))
		u.cond.Broadcast()
	}
	return len(b), nil
}

func (u *upstream) Read(b []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		switch {
		case u.dead:
			return 0, net.ErrClosed
		case u.refused:
			u.refused = false
			return 0, syserror.NoPort.Err()
		case len(u.back) > 0:
			n := copy(b, u.back[0])
			u.back = u.back[1:]
			return n, nil
		case !u.when.IsZero() && !time.Now().Before(u.when):
			return 0, os.ErrDeadlineExceeded
		}
		u.cond.Wait()
	}
}

func (u *upstream) SetReadDeadline(t time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.when = t
	time.AfterFunc(time.Until(t), func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.cond.Broadcast()
	})
	return nil
}

func (u *upstream) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dead = true
	u.cond.Broadcast()
	return nil
}

func (u *upstream) RemoteAddr() net.Addr { return address(u.to) }
func (u *upstream) LocalAddr() net.Addr  { return address("10.0.0.1:4000") }

func packets(d *datagrams) []PacketConn { return []PacketConn{d} }

// TestDatagramsWait: datagrams that arrive during the knock are stored, up to a bound,
// and then sent in their order. All flows that begin meanwhile share the knock.
func TestDatagramsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatagrams()
		w := &remote{openFor: time.Minute, takes: time.Second}
		s := serve(t, w, Config{OpenFor: time.Minute}, Route{Service: ":80/udp", Packets: packets(d)})
		var want []string
		for i := range 2 * maxWaiting {
			text := fmt.Sprint(i)
			d.send(1, text)
			if i < maxWaiting {
				want = append(want, text)
			}
		}
		large := string(make([]byte, 40000))
		for range 3 {
			d.send(2, large)
		}
		time.Sleep(2 * time.Second)
		if got := d.got(1); !slices.Equal(got, want) {
			t.Errorf("answers: %q, want %q", got, want)
		}
		if got := d.got(2); len(got) != 1 {
			t.Errorf("%d answers to datagrams of 40000 bytes, want 1", len(got))
		}
		if w.count() != 1 {
			t.Errorf("%d knocks, want 1", w.count())
		}
		s.end(t)
	})
}

// TestFlowsRenew: while there is traffic, the lease never ends; without it, nothing
// knocks, and the flow ends.
func TestFlowsRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatagrams()
		w := &remote{openFor: 20 * time.Second}
		s := serve(t, w, Config{OpenFor: 20 * time.Second, Idle: time.Minute}, Route{Service: ":80/udp", Packets: packets(d)})
		n := 0
		for begin := time.Now(); time.Since(begin) < 200*time.Second; time.Sleep(time.Second) {
			d.send(1, "x")
			n++
		}
		if got := len(d.got(1)); got != n {
			t.Errorf("%d of %d datagrams were answered", got, n)
		}
		if k := w.count(); k < 19 || k > 21 {
			t.Errorf("%d knocks in 200 s with a lease of 20 s, want about 20", k)
		}
		before, dials := w.count(), w.dials.Load()
		time.Sleep(10 * time.Minute)
		if w.count() != before || dials != 1 {
			t.Errorf("%d knocks without traffic; %d sockets for one flow", w.count()-before, dials)
		}
		d.send(1, "again")
		time.Sleep(time.Second)
		if w.dials.Load() != 2 || w.count() != before+1 || len(d.got(1)) != n+1 {
			t.Errorf("after the idle time: %d sockets, %d knocks, %d answers", w.dials.Load(), w.count()-before, len(d.got(1)))
		}
		s.end(t)
	})
}

// TestSilentFlows: flows without answers cause knocks, with growing pauses. If the
// service has another address then, they move there.
func TestSilentFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatagrams()
		w := &remote{openFor: time.Hour, lossy: true}
		s := serve(t, w, Config{}, Route{Service: ":80/udp", Packets: packets(d)})
		send := func(length time.Duration) {
			for begin := time.Now(); time.Since(begin) < length; time.Sleep(100 * time.Millisecond) {
				d.send(1, "x")
				d.send(2, "y")
			}
		}
		send(10 * time.Minute)
		// 3, 8, 18, 38, 78, 138, … seconds: 13 of each flow, and one at the begin.
		if k := w.count(); k < 10 || k > 27 {
			t.Errorf("%d knocks in 10 minutes without an answer", k)
		}
		w.mu.Lock()
		w.lossy, w.moved = false, netip.MustParseAddr("192.0.2.2")
		w.mu.Unlock()
		send(2 * maxSilence)
		if len(d.got(1)) == 0 || len(d.got(2)) == 0 {
			t.Errorf("%d and %d answers after the service has moved", len(d.got(1)), len(d.got(2)))
		}
		before := w.count()
		send(time.Minute)
		if w.count() != before {
			t.Errorf("%d knocks for flows with answers, and an unknown open_for", w.count()-before)
		}
		s.end(t)
	})
}

// TestRefusedFlows: an ICMP error makes the next datagram knock at once.
func TestRefusedFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatagrams()
		w := &remote{openFor: time.Hour}
		s := serve(t, w, Config{OpenFor: time.Hour}, Route{Service: ":80/udp", Packets: packets(d)})
		d.send(1, "first")
		time.Sleep(time.Second)
		w.mu.Lock()
		w.refuses = true
		w.mu.Unlock()
		d.send(1, "refused")
		time.Sleep(100 * time.Millisecond)
		d.send(1, "refused too")
		time.Sleep(100 * time.Millisecond)
		if w.count() != 2 {
			t.Errorf("%d knocks, want 2", w.count())
		}
		w.mu.Lock()
		w.refuses = false
		w.mu.Unlock()
		d.send(1, "last")
		time.Sleep(100 * time.Millisecond)
		if got := d.got(1); !slices.Equal(got, []string{"first", "last"}) || w.dials.Load() != 2 {
			t.Errorf("answers %q, over %d sockets", got, w.dials.Load())
		}
		s.end(t)
	})
}

// TestFlowsAreBounded: a flood of sources ends flows without answers first.
func TestFlowsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatagrams()
		w := &remote{openFor: time.Hour}
		s := serve(t, w, Config{OpenFor: time.Hour, MaxFlows: 10}, Route{Service: ":80/udp", Packets: packets(d)})
		d.send(1, "good")
		time.Sleep(time.Second)
		w.mu.Lock()
		w.lossy = true
		w.mu.Unlock()
		for i := range 1000 {
			d.send(uint16(1000+i), "flood")
			time.Sleep(time.Millisecond)
		}
		w.mu.Lock()
		w.lossy = false
		dials := w.dials.Load()
		w.mu.Unlock()
		d.send(1, "still")
		time.Sleep(time.Second)
		if got := d.got(1); !slices.Equal(got, []string{"good", "still"}) || w.dials.Load() != dials {
			t.Errorf("the flow with answers got %q, and %d other sockets", got, w.dials.Load()-dials)
		}
		if f := s.failures(); len(f) != 1 {
			t.Errorf("reported %q", f)
		}
		s.end(t)
	})
}
