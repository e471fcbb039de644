package prove

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
)

func TestConnectionPasses(t *testing.T) {
	w := newWorld(t, Config{})
	for range 3 {
		c, p := w.dial(), w.client()
		first(t, c, p)
		send1(t, c, proofOf(t, c, p))
		wantService(t, c)
	}
	w.wantCounts(map[Outcome]uint64{Passed: 3})
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.owned {
		if id != verifytest.ID("com1") {
			t.Errorf("a connection of %s", id)
		}
	}
}

// TestBytesAfterTheProof: bytes that come with the proof are the service's, however the
// messages are split.
func TestBytesAfterTheProof(t *testing.T) {
	w := newWorld(t, Config{})
	c, p := w.dial(), w.client()
	b := p.Preamble()
	send1(t, c, b[:20])
	for i := range b[20:] {
		send1(t, c, b[20+i:21+i])
	}
	proof := proofOf(t, c, p)
	send1(t, c, proof[:31])
	send1(t, c, append(proof[31:], "you"...))
	got := make([]byte, len("hello you"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello you" {
		t.Errorf("got %q: %v", got, err)
	}
	c.CloseWrite()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("after the end of file: %q, %v", rest, err)
	}
}

// TestNoByteBeforeTheRecord: the service gets the connection when the nonce is recorded,
// and not before.
func TestNoByteBeforeTheRecord(t *testing.T) {
	w := newWorld(t, Config{})
	recording, release := make(chan []sessions.Entry), make(chan error)
	w.record(func(e []sessions.Entry) error {
		recording <- e
		return <-release
	})
	c, p := w.dial(), w.client()
	first(t, c, p)
	send1(t, c, proofOf(t, c, p))
	e := <-recording
	w.mu.Lock()
	if w.passed != 0 || len(w.owned) != 1 {
		t.Errorf("%d passed, %d owned before the record", w.passed, len(w.owned))
	}
	w.mu.Unlock()
	if len(e) != 1 || e[0].Identifier != verifytest.ID("com1") || e[0].HighestNonce != w.nonce.Load() {
		t.Errorf("recorded %v", e)
	}
	release <- nil
	wantService(t, c)
}

// TestFullDisk: no byte passes, and the nonce stays used.
func TestFullDisk(t *testing.T) {
	w := newWorld(t, Config{})
	w.record(func([]sessions.Entry) error { return errors.New("no space left on device") })
	c, p := w.dial(), w.client()
	first(t, c, p)
	send1(t, c, proofOf(t, c, p))
	wantReset(t, c)
	w.record(func([]sessions.Entry) error { return nil })
	again := w.dial()
	first(t, again, p)
	wantReset(t, again)
	w.wantCounts(map[Outcome]uint64{Unrecorded: 1, Used: 1})
	if w.passed != 0 {
		t.Errorf("%d passed", w.passed)
	}
}

// TestWithoutALease: an address that no lease admits, and a client without a lease.
func TestWithoutALease(t *testing.T) {
	w := newWorld(t, Config{})
	w.revoke("com1")
	c := w.dial()
	first(t, c, w.client())
	wantReset(t, c)
	// The lease of another client lets this address try: that client gets in.
	other, p := w.dial(), w.handshake("ssh", "com2")
	first(t, other, p)
	send1(t, other, proofOf(t, other, p))
	wantService(t, other)
	w.mu.Lock()
	w.stays = false
	w.mu.Unlock()
	late, err := net.Dial("tcp", w.listener.Addr().String())
	if err == nil {
		defer late.Close()
		wantReset(t, late)
	} else if !errors.Is(err, syscall.ECONNRESET) { // which may come before Dial returns
		t.Error(err)
	}
	w.wantCounts(map[Outcome]uint64{NoLease: 1, Passed: 1, NotAdmitted: 1})
}

// TestRevokedMeanwhile: a client that loses its right in the middle of the handshake.
func TestRevokedMeanwhile(t *testing.T) {
	t.Run("before the proof", func(t *testing.T) {
		w := newWorld(t, Config{})
		c, p := w.dial(), w.client()
		first(t, c, p)
		proof := proofOf(t, c, p)
		w.revoke("com1")
		send1(t, c, proof)
		wantReset(t, c)
		w.wantCounts(map[Outcome]uint64{NoLease: 1})
	})
	t.Run("before the record", func(t *testing.T) {
		w := newWorld(t, Config{})
		recording, release := make(chan bool), make(chan error)
		w.record(func([]sessions.Entry) error {
			recording <- true
			return <-release
		})
		c, p := w.dial(), w.client()
		first(t, c, p)
		send1(t, c, proofOf(t, c, p))
		<-recording
		w.revoke("com1")
		wantReset(t, c)
		release <- nil
		w.wantCounts(map[Outcome]uint64{Revoked: 1})
	})
	t.Run("removed from the clients", func(t *testing.T) {
		w := newWorld(t, Config{})
		c, p := w.dial(), w.client()
		first(t, c, p)
		proof := proofOf(t, c, p)
		id := verifytest.ID("com2")
		commit, err := w.sessions.Prepare([]sessions.Client{{Identifier: id, Current: sessions.Secret{Fingerprint: verifytest.Fingerprint(id)}}})
		if err == nil {
			err = commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		send1(t, c, proof)
		wantReset(t, c)
		w.wantCounts(map[Outcome]uint64{Revoked: 1})
	})
	t.Run("expired", func(t *testing.T) {
		w := newWorld(t, Config{})
		key := verifytest.Client(verifytest.ID("com1"))
		key.Expires = time.Now().Add(30 * time.Second)
		w.authority.SetRules(verify.Rules{Table: verifytest.Table(t, key), Tolerance: time.Minute})
		c, p := w.dial(), w.client()
		first(t, c, p)
		proof := proofOf(t, c, p)
		w.ahead.Store(31)
		send1(t, c, proof)
		wantReset(t, c)
		again := w.dial()
		first(t, again, w.client())
		wantReset(t, again)
		w.wantCounts(map[Outcome]uint64{Expired: 2})
	})
	t.Run("reloaded", func(t *testing.T) {
		w := newWorld(t, Config{})
		c, p := w.dial(), w.client()
		first(t, c, p)
		proof := proofOf(t, c, p)
		w.rules("com1", "com2") // a new table, with the same secret
		send1(t, c, proof)
		wantService(t, c)
		w.rules("com2")
		c = w.dial()
		first(t, c, w.client())
		wantReset(t, c)
		w.wantCounts(map[Outcome]uint64{Passed: 1, MAC: 1})
	})
}

// TestListenerCloses: connections without a proof end with their listener, and those with
// one continue. No goroutine stays.
func TestListenerCloses(t *testing.T) {
	w := newWorld(t, Config{})
	through, p := w.dial(), w.client()
	first(t, through, p)
	send1(t, through, proofOf(t, through, p))
	idle, half := w.dial(), w.dial()
	first(t, half, w.client())
	answerOf(t, half)
	w.awaitPending(2)
	w.close()
	wantReset(t, idle)
	wantReset(t, half)
	wantService(t, through)
	w.wantCounts(map[Outcome]uint64{Passed: 1, Revoked: 2})
	for w.running() {
		time.Sleep(time.Millisecond)
	}
	// It can listen again.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.listener = l
	w.serve()
	again, p := w.dial(), w.client()
	first(t, again, p)
	send1(t, again, proofOf(t, again, p))
	wantService(t, again)
}

func (w *world) running() bool {
	w.prover.mu.Lock()
	defer w.prover.mu.Unlock()
	return w.prover.poll != nil
}

// TestNoOldTable: a table that a reload has replaced, with the keys of all clients, does
// not stay in memory until the next preamble.
func TestNoOldTable(t *testing.T) {
	w := newWorld(t, Config{})
	freed := make(chan bool)
	func() {
		table := verifytest.Table(t, verifytest.Clients("com1")...)
		runtime.AddCleanup(table, func(freed chan bool) { close(freed) }, freed)
		w.authority.SetRules(verify.Rules{Table: table, Tolerance: time.Minute})
	}()
	c, p := w.dial(), w.client()
	first(t, c, p)
	send1(t, c, proofOf(t, c, p))
	wantService(t, c)
	w.rules("com1")
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the old table is still in memory")
}

// awaitPending waits until so many connections are without a proof.
func (w *world) awaitPending(n int) {
	pending := func() int {
		w.prover.mu.Lock()
		defer w.prover.mu.Unlock()
		return w.prover.table.used
	}
	for pending() != n {
		time.Sleep(time.Millisecond)
	}
}

func TestServeRefuses(t *testing.T) {
	p, err := New(Config{Service: "ssh", Authority: new(Authority), Wall: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	if _, err := p.Serve(pipeListener{ours}, nil); err == nil {
		t.Error("a listener without a socket")
	}
	if _, err := New(Config{Service: string(make([]byte, preamble.MaxService+1))}); err == nil {
		t.Error("a name that is too long")
	}
}

// pipeListener is a listener without a socket.
type pipeListener struct{ net.Conn }

func (l pipeListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }

func (l pipeListener) Addr() net.Addr { return l.LocalAddr() }
