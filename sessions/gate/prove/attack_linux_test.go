package prove

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestCopySentFirst: an attacker who has read a preamble, and sends it before the client
// does, gets an answer, and cannot use it. The client's connection is not affected.
func TestCopySentFirst(t *testing.T) {
	w := newWorld(t, Config{})
	p := w.client()
	attacker, second := w.dial(), w.dial()
	first(t, attacker, p)
	first(t, second, p)
	answerOf(t, attacker)
	answerOf(t, second)
	c := w.dial()
	first(t, c, p)
	proof := proofOf(t, c, p)
	send1(t, attacker, proof) // the attacker reads it, too, and is faster
	wantReset(t, attacker)
	send1(t, c, proof)
	wantService(t, c)
	send1(t, second, proof)
	wantReset(t, second)
	replay := w.dial()
	first(t, replay, p)
	wantReset(t, replay)
	w.wantCounts(map[Outcome]uint64{Passed: 1, Proof: 2, Used: 1})
}

// TestOneNonceOneConnection: two connections with one preamble, and a right proof each,
// as only a client makes them that does not obey the protocol: one of them passes.
func TestOneNonceOneConnection(t *testing.T) {
	w := newWorld(t, Config{})
	p := w.client()
	a, b := w.dial(), w.dial()
	first(t, a, p)
	first(t, b, p)
	proofA, proofB := proofOf(t, a, p), proofOf(t, b, p)
	send1(t, a, proofA)
	wantService(t, a)
	send1(t, b, proofB)
	wantReset(t, b)
	w.wantCounts(map[Outcome]uint64{Passed: 1, Used: 1})
}

// TestWrongPreambles: each is reset without a byte.
func TestWrongPreambles(t *testing.T) {
	now := uint32(time.Now().Unix())
	good := func(service, id string, at, nonce uint32) []byte {
		b := verifytest.Handshake(t, service, id, at, nonce).Preamble()
		return b[:]
	}
	knock := wire.Knock{Maximum: 2, Identifier: verifytest.ID("com1"), Timestamp: now, Nonce: 7}
	asKnock := good("ssh", "com1", now, 7)
	copy(asKnock[wire.OffsetMAC:], verifytest.Sign(t, knock)[wire.OffsetMAC:])
	resigned := good("ssh", "com1", now, 7)
	mac, err := preamble.SecretMAC(verifytest.Secret(verifytest.ID("com1")))(resigned[:wire.SignedSize])
	if err != nil {
		t.Fatal(err)
	}
	copy(resigned[wire.OffsetMAC:], mac[:])
	for name, row := range map[string]struct {
		b    []byte
		want Outcome
	}{
		"a knock":                       {verifytest.Sign(t, knock), Malformed},
		"with the MAC of a knock":       {asKnock, MAC},
		"signed as a knock":             {resigned, MAC},
		"another service":               {good("web", "com1", now, 7), MAC},
		"a client that does not exist":  {good("ssh", "none", now, 7), MAC},
		"zeros":                         {make([]byte, preamble.Size), Malformed},
		"a request":                     {append([]byte("GET / HTTP/1.1\r\nHost: example.com\r\n"), make([]byte, 20)...), Malformed},
		"too old":                       {good("ssh", "com1", now-120, 7), Clock},
		"ahead":                         {good("ssh", "com1", now+120, 7), Clock},
		"a preamble that ends too soon": {good("ssh", "com1", now, 7)[:47], Closed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			c := w.dial()
			send1(t, c, row.b)
			if row.want == Closed {
				c.CloseWrite()
			}
			wantReset(t, c)
			w.wantCounts(map[Outcome]uint64{row.want: 1})
		})
	}
}

// TestWrongProofs: what is not the client's proof for this connection.
func TestWrongProofs(t *testing.T) {
	for name, proof := range map[string]func(w *world, p *preamble.Client, answer []byte) []byte{
		"zeros":                  func(*world, *preamble.Client, []byte) []byte { return make([]byte, preamble.ProofSize) },
		"the server's MAC":       func(_ *world, _ *preamble.Client, a []byte) []byte { return a[preamble.NonceSize:] },
		"the answer's beginning": func(_ *world, _ *preamble.Client, a []byte) []byte { return a[:preamble.ProofSize] },
		"the preamble's MAC": func(_ *world, p *preamble.Client, _ []byte) []byte {
			b := p.Preamble()
			return b[wire.OffsetMAC:]
		},
		"of another connection": func(w *world, _ *preamble.Client, _ []byte) []byte {
			c, other := w.dial(), w.client()
			first(w.t, c, other)
			return proofOf(w.t, c, other)
		},
		"of another client": func(w *world, _ *preamble.Client, _ []byte) []byte {
			c, other := w.dial(), w.handshake("ssh", "com2")
			first(w.t, c, other)
			return proofOf(w.t, c, other)
		},
		"one bit": func(_ *world, p *preamble.Client, a []byte) []byte {
			b, err := p.Answer(a)
			if err != nil {
				panic(err)
			}
			b[31] ^= 1
			return b[:]
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			c, p := w.dial(), w.client()
			first(t, c, p)
			send1(t, c, proof(w, p, answerOf(t, c)))
			wantReset(t, c)
			if got := w.authority.Stats(); got[Proof] != 1 || got[Passed] != 0 {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// TestProofBeforeTheAnswer: bytes that follow the preamble at once are a proof that
// cannot be right.
func TestProofBeforeTheAnswer(t *testing.T) {
	w := newWorld(t, Config{})
	c, p := w.dial(), w.client()
	b := p.Preamble()
	send1(t, c, append(b[:], make([]byte, preamble.ProofSize)...))
	answerOf(t, c)
	wantReset(t, c)
	w.wantCounts(map[Outcome]uint64{Proof: 1})
}

// TestReflection: the server's answer is no preamble.
func TestReflection(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.dial()
	first(t, c, w.client())
	mirrored := w.dial()
	send1(t, mirrored, answerOf(t, c))
	wantReset(t, mirrored)
	c.Close()
	w.wantCounts(map[Outcome]uint64{Malformed: 1, Closed: 1})
}

// TestSlowBytes: a byte now and then does not extend the time.
func TestSlowBytes(t *testing.T) {
	w := newWorld(t, Config{Timeout: time.Second}) // in which a busy machine proves itself, too
	idle, half, slow := w.dial(), w.dial(), w.dial()
	p := w.client()
	first(t, half, p)
	answerOf(t, half)
	b := w.client().Preamble()
	for i := range b {
		if _, err := slow.Write(b[i : i+1]); err != nil {
			break // it was reset
		}
		time.Sleep(25 * time.Millisecond)
	}
	for _, c := range []net.Conn{idle, half} {
		wantReset(t, c)
	}
	buffer := make([]byte, 1)
	if n, err := slow.Read(buffer); n != 0 || err == nil {
		t.Errorf("a slow connection got %d bytes, %v", n, err)
	}
	w.wantCounts(map[Outcome]uint64{Timeout: 3})
	if c, p := w.dial(), w.client(); true { // and the next one passes, in its time
		first(t, c, p)
		send1(t, c, proofOf(t, c, p))
		wantService(t, c)
	}
}

// TestNeighboursShareAnAddress: connections without a secret, from the client's address,
// do not keep the client out.
func TestNeighboursShareAnAddress(t *testing.T) {
	w := newWorld(t, Config{Pending: 8, Share: 4})
	var idle []*net.TCPConn
	for range 4 {
		idle = append(idle, w.dial())
	}
	w.awaitPending(4)
	c, p := w.dial(), w.client()
	wantReset(t, idle[0]) // the oldest gave way
	first(t, c, p)
	proof := proofOf(t, c, p)
	for range 20 { // they would displace it if it had no preamble
		w.dial()
	}
	w.wantCounts(map[Outcome]uint64{Displaced: 21})
	send1(t, c, proof)
	wantService(t, c)
}

// TestCopiesGiveWay: a neighbour who hears the client's preamble, and sends copies of it
// before the client's proof comes, does not end the client's handshake: copies give way
// as if they had no preamble. So do copies of an earlier preamble that is not used.
func TestCopiesGiveWay(t *testing.T) {
	w := newWorld(t, Config{Pending: 8, Share: 4, Timeout: time.Minute})
	unused := w.client()
	first(t, w.dial(), unused)
	c, p := w.dial(), w.client()
	first(t, c, p)
	proof := proofOf(t, c, p)
	for i := range 20 {
		attacker := w.dial()
		first(t, attacker, []*preamble.Client{p, unused}[i%2])
		if b := make([]byte, preamble.AnswerSize); i < 2 {
			answerOf(t, attacker)
		} else {
			io.ReadFull(attacker, b) // it may have given way
		}
	}
	send1(t, c, proof)
	wantService(t, c)
	w.wantCounts(map[Outcome]uint64{Passed: 1, Displaced: 18})
}

// TestManyTries: connections that never prove themselves leave nothing.
func TestManyTries(t *testing.T) {
	w := newWorld(t, Config{Pending: 64, Share: 32})
	try := func(n int) {
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			at := w.listener.Addr().(*net.TCPAddr)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: at.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				t.Fatal(err)
			}
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &lingerZero)
			unix.Close(fd)
		}
	}
	measure := func() (heap uint64, goroutines int) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, runtime.NumGoroutine()
	}
	try(100)
	heap, goroutines := measure()
	try(20_000)
	nowHeap, nowGoroutines := measure()
	if nowGoroutines > goroutines || nowHeap > heap+256<<10 {
		t.Errorf("%d goroutines and %d bytes, before %d and %d", nowGoroutines, nowHeap, goroutines, heap)
	}
	c, p := w.dial(), w.client()
	first(t, c, p)
	send1(t, c, proofOf(t, c, p))
	wantService(t, c)
}

// BenchmarkTry is a connection of a stranger that a lease admits, from the handshake of TCP
// to its reset: the allocations are those of the whole process.
func BenchmarkTry(b *testing.B) {
	w := newWorld(b, Config{})
	to := &unix.SockaddrInet4{Port: w.listener.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	b.ReportAllocs()
	for b.Loop() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &lingerZero)
		unix.Close(fd)
	}
}

// BenchmarkProof is a connection that proves itself, both sides together.
func BenchmarkProof(b *testing.B) {
	w := newWorld(b, Config{})
	for b.Loop() {
		c, p := w.dial(), w.client()
		first(b, c, p)
		send1(b, c, proofOf(b, c, p))
		wantService(b, c)
		c.SetLinger(0)
		c.Close()
	}
}
