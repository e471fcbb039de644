package prove

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// late is a Prover of a world whose goroutine does not run: it is late, as in a flood.
type late struct {
	*Prover
	w        *world
	acceptor *acceptor
}

func (w *world) late(pending, share int) late {
	w.t.Helper()
	p, err := New(Config{Service: "ssh", Authority: w.authority, Pending: pending, Share: share, Wall: time.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	p.leases.Store(w.prover.leases.Load())
	p.table = newTable(pending, share)
	if p.poll, err = newPoll(); err != nil {
		w.t.Fatal(err)
	}
	w.close() // its listener's port is for this one
	l, err := net.Listen("tcp", w.listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.listener = l
	a, err := newAcceptor(l.(syscall.Conn))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		for s := p.table.next(); s != nil; s = p.table.next() {
			p.drop(s, Closed)
		}
		a.file.Close()
		l.Close()
		p.poll.close()
	})
	return late{p, w, a}
}

// connect makes a connection that sends b, and adds it when b has come.
func (l late) connect(b []byte) *net.TCPConn {
	l.w.t.Helper()
	c := l.w.dial()
	send1(l.w.t, c, b)
	fd, from, err := l.acceptor.accept()
	if err != nil {
		l.w.t.Fatal(err)
	}
	if len(b) > 0 {
		l.await(fd)
	}
	l.add(fd, from, loopback, l.w)
	return c
}

// await waits until bytes have come for a descriptor.
func (l late) await(fd int) {
	l.w.t.Helper()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000); n != 1 {
		l.w.t.Fatalf("no bytes have come: %v", err)
	}
}

func (l late) stages() (n [answered + 1]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.table.slots {
		n[l.table.slots[i].stage]++
	}
	return n
}

// answer lets the Prover answer so many preambles.
func (l late) answer(n int) {
	for n > 0 {
		for _, r := range l.takeResults() {
			l.checked(r)
			n--
		}
	}
}

// TestUnreadPreambleStays: a connection whose preamble has come does not give way to
// those without one, also if the preamble has not been read yet.
func TestUnreadPreambleStays(t *testing.T) {
	w := newWorld(t, Config{})
	l := w.late(8, 4)
	p := w.client()
	b := p.Preamble()
	c := l.connect(b[:])
	for range 10 {
		l.connect([]byte("PK"))
	}
	if n := l.stages(); n[waiting] != 3 || n[checking] != 1 {
		t.Fatalf("stages %v, want three without a preamble, and the client", n)
	}
	l.answer(1)
	proof := proofOf(t, c, p)
	for range 10 {
		l.connect(nil)
	}
	if n := l.stages(); n[waiting] != 3 || n[answered] != 1 {
		t.Fatalf("stages %v, want three without a preamble, and the client", n)
	}
	send1(t, c, proof)
	w.wantCounts(map[Outcome]uint64{Displaced: 17})
}

// TestUnreadProofStays: of connections that all have authentic preambles, one whose proof
// has come does not give way.
func TestUnreadProofStays(t *testing.T) {
	w := newWorld(t, Config{})
	l := w.late(8, 4)
	p := w.client()
	b := p.Preamble()
	c := l.connect(b[:])
	l.read(ref{l.table.oldest, l.table.next().turn})
	l.answer(1)
	send1(t, c, proofOf(t, c, p))
	l.await(l.table.next().fd)
	for range 4 {
		other := w.client().Preamble()
		l.connect(other[:])
	}
	wantService(t, c)
	w.wantCounts(map[Outcome]uint64{Passed: 1})
}

// TestResetBehindTheProof: a connection that its client has reset, with bytes behind the
// proof that have come, does not reach the service. The kernel no longer knows its other
// side, so the service would take it for one of this host.
func TestResetBehindTheProof(t *testing.T) {
	w := newWorld(t, Config{})
	l := w.late(8, 4)
	p := w.client()
	b := p.Preamble()
	c := l.connect(b[:])
	s := l.table.next()
	r := ref{l.table.oldest, s.turn}
	l.read(r)
	l.answer(1)
	send1(t, c, append(proofOf(t, c, p), "GET /status HTTP/1.0\r\n\r\n"...))
	l.await(s.fd)
	c.SetLinger(0)
	c.Close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := unix.Getpeername(s.fd); err == unix.ENOTCONN {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the reset does not come: %v", err)
		}
	}
	l.read(r)
	w.wantCounts(map[Outcome]uint64{Closed: 1})
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.owned) != 0 || w.passed != 0 {
		t.Errorf("%d owned, %d passed", len(w.owned), w.passed)
	}
}
