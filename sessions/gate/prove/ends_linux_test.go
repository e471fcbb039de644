package prove

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
)

// heldNonces hold back the answers of other Nonces, until release is closed.
type heldNonces struct {
	Nonces
	asked, release chan struct{}
}

func (n heldNonces) Check(c *verify.Claim, done func(sessions.Outcome)) {
	n.asked <- struct{}{}
	go func() {
		<-n.release
		n.Nonces.Check(c, done)
	}()
}

// TestEndsInEachState: a connection that its other side ends, or resets, in any state of
// the handshake leaves the table, and its descriptor is closed. The next one passes.
func TestEndsInEachState(t *testing.T) {
	for _, state := range []string{"nothing", "half a preamble", "checking", "answered", "half a proof"} {
		for _, end := range []string{"closed", "half closed", "reset"} {
			t.Run(state+", "+end, func(t *testing.T) {
				w := newWorld(t, Config{Timeout: time.Minute})
				held := heldNonces{w.sessions, make(chan struct{}, 10), make(chan struct{})}
				if state == "checking" {
					w.authority.SetNonces(held)
				}
				before := descriptors(t)
				c, p := w.dial(), w.client()
				b := p.Preamble()
				switch state {
				case "half a preamble":
					send1(t, c, b[:24])
				case "checking":
					send1(t, c, b[:])
					<-held.asked
				case "answered", "half a proof":
					send1(t, c, b[:])
					proof := proofOf(t, c, p)
					if state == "half a proof" {
						send1(t, c, proof[:16])
					}
				}
				w.awaitPending(1)
				switch end {
				case "reset":
					c.SetLinger(0)
					c.Close()
				case "half closed":
					c.CloseWrite()
				case "closed":
					c.Close()
				}
				close(held.release)
				w.wantCounts(map[Outcome]uint64{Closed: 1})
				c.Close()
				for end := time.Now().Add(20 * time.Second); descriptors(t) > before; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%d descriptors, before %d", descriptors(t), before)
					}
				}
				w.authority.SetNonces(w.sessions)
				next, p := w.dial(), w.client()
				first(t, next, p)
				send1(t, next, proofOf(t, next, p))
				wantService(t, next)
			})
		}
	}
}

func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestRacesOfOneNonce: of many connections with one preamble whose right proofs come at
// the same time, exactly one passes.
func TestRacesOfOneNonce(t *testing.T) {
	w := newWorld(t, Config{})
	const rounds, conns = 20, 8
	for range rounds {
		p := w.client()
		var all []*net.TCPConn
		var proofs [][]byte
		for range conns {
			c := w.dial()
			first(t, c, p)
			all, proofs = append(all, c), append(proofs, proofOf(t, c, p))
		}
		var sending sync.WaitGroup
		start := make(chan struct{})
		for i, c := range all {
			sending.Go(func() {
				<-start
				c.Write(append(proofs[i], "you"...))
			})
		}
		close(start)
		sending.Wait()
		passed := 0
		for _, c := range all {
			b := make([]byte, len("hello you"))
			if n, _ := io.ReadFull(c, b); n == len(b) {
				passed++
			} else if n > 0 {
				t.Errorf("%q, and then the end", b[:n])
			}
		}
		if passed != 1 {
			t.Fatalf("%d of %d passed", passed, conns)
		}
	}
	w.wantCounts(map[Outcome]uint64{Passed: rounds, Used: rounds * (conns - 1)})
}

// TestManyBytesBehind: what the client sends behind its messages at once, far more than a
// segment, reaches the service, each byte once.
func TestManyBytesBehind(t *testing.T) {
	w := newWorld(t, Config{})
	c, p := w.dial(), w.client()
	b := p.Preamble()
	var stream []byte
	for i := range 20_000 {
		stream = fmt.Appendf(stream, "%d ", i)
	}
	send1(t, c, b[:])
	send1(t, c, append(proofOf(t, c, p), stream...))
	c.CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, append([]byte("hello "), stream...)) {
		t.Errorf("%d bytes, want %d: %v", len(got), len("hello ")+len(stream), err)
	}
}

// TestBytesBehindThePreamble: they are read as the proof, and no byte of them as anything
// else: 32 bytes that are none end the connection, whatever follows them.
func TestBytesBehindThePreamble(t *testing.T) {
	w := newWorld(t, Config{})
	for _, n := range []int{preamble.ProofSize, preamble.ProofSize + 1, 100_000} {
		c := w.dial()
		b := w.client().Preamble()
		send1(t, c, append(b[:], make([]byte, n)...))
		got, err := io.ReadAll(c)
		if len(got) > preamble.AnswerSize || err == nil {
			t.Errorf("%d bytes behind the preamble: got %d bytes, %v", n, len(got), err)
		}
	}
	w.wantCounts(map[Outcome]uint64{Proof: 3})
	if w.passed != 0 {
		t.Error("a connection passed")
	}
}

// TestReusedDescriptors: connections that come and go at once get the descriptors, and the
// slots, of earlier ones. No event, and no answer of the Nonces, is taken for that of
// another connection.
func TestReusedDescriptors(t *testing.T) {
	w := newWorld(t, Config{Pending: 4, Share: 4})
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("tcp", w.listener.Addr().String())
				if err != nil {
					continue
				}
				b := verifytest.Handshake(t, "ssh", "com2", uint32(time.Now().Unix()), 1<<20).Preamble()
				c.Write(b[:])
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		})
	}
	passed := 0
	for range 300 {
		c, err := net.Dial("tcp", w.listener.Addr().String())
		if err != nil {
			continue
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		p := w.client()
		b := p.Preamble()
		c.Write(b[:])
		answer := make([]byte, preamble.AnswerSize)
		if n, err := io.ReadFull(c, answer); err != nil {
			if n > 0 {
				t.Fatalf("%d bytes of an answer", n)
			}
			continue // it gave way
		}
		proof, err := p.Answer(answer)
		if err != nil {
			t.Fatalf("the answer is for another connection: %v", err)
		}
		c.Write(append(proof[:], "you"...))
		got := make([]byte, len("hello you"))
		if n, err := io.ReadFull(c, got); err == nil {
			if passed++; string(got) != "hello you" {
				t.Fatalf("the service sent %q", got[:n])
			}
		}
		c.Close()
	}
	close(stop)
	clients.Wait()
	if passed == 0 {
		t.Error("no connection passed")
	}
	if n := w.authority.Stats()[Proof]; n != 0 {
		t.Errorf("%d proofs were taken for others", n)
	}
}
