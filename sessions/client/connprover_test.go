package client

import (
	"context"
	"crypto/hmac"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

// newTestProver returns a prover with a new nonce file.
func newTestProver(t *testing.T, now func() time.Time) *ConnProver {
	t.Helper()
	p := Profile{Identifier: wire.Identifier([]byte("com1")), Secret: []byte("a secret")}
	c, err := NewConnProver(p, "web", NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// proveAt proves a connection to a server that has the secret, and returns the preamble
// that it received.
func proveAt(t *testing.T, c *ConnProver) preamble.Preamble {
	t.Helper()
	return proveBy(t, prepare(t, c))
}

func prepare(t *testing.T, c *ConnProver) *Proof {
	t.Helper()
	f, err := c.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// proveBy is proveAt for a proof that is prepared.
func proveBy(t *testing.T, f *Proof) preamble.Preamble {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	server.SetDeadline(netns.Deadline(t))
	done := make(chan error, 1)
	go func() { done <- f.Prove(t.Context(), client) }()
	first, proof := make([]byte, preamble.Size), make([]byte, preamble.ProofSize)
	if _, err := io.ReadFull(server, first); err != nil {
		t.Fatal(err)
	}
	p, err := preamble.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	mac, nonce := preamble.SecretMAC([]byte("a secret")), [preamble.NonceSize]byte{1, 2, 3}
	server.Write(answerTo(t, first))
	if _, err := io.ReadFull(server, proof); err != nil {
		t.Fatal(err)
	}
	if want, _ := mac(preamble.AppendProofMessage(nil, "web", p, nonce)); !hmac.Equal(want[:], proof) {
		t.Error("the proof is wrong")
	}
	if err := <-done; err != nil {
		t.Errorf("prove: %v", err)
	}
	return p
}

// TestProofsUseNewNonces: each connection has a nonce that is recorded before it is sent. A
// preamble that was made too long ago is not sent.
func TestProofsUseNewNonces(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := newTestProver(t, func() time.Time { return now })
	var used []uint32
	prove := func(f *Proof) {
		t.Helper()
		p := proveBy(t, f)
		if slices.Contains(used, p.Nonce) || p.Timestamp != uint32(now.Unix()) {
			t.Errorf("the preamble has the nonce %d after %v, and the time %d at %d", p.Nonce, used, p.Timestamp, now.Unix())
		}
		r, err := c.nonces.read()
		if err != nil || r.next <= uint64(p.Nonce) {
			t.Errorf("the nonce %d is sent, and the record has %v, %v", p.Nonce, r, err)
		}
		used = append(used, p.Nonce)
	}
	first, second, third := prepare(t, c), prepare(t, c), prepare(t, c)
	prove(second)
	prove(first)
	now = now.Add(preambleAge + time.Second)
	prove(third)
	fourth := prepare(t, c)
	now = now.Add(-time.Hour)
	prove(fourth)
}

// slowSigner is a device that takes some time for each of its HMACs.
type slowSigner struct {
	SecretSigner
	slow func(n int) // the number of the HMAC, from 0 on
	n    *int
}

func (s slowSigner) Sign(ctx context.Context, messages ...[]byte) ([]MAC, error) {
	s.slow(*s.n)
	*s.n++
	return s.SecretSigner.Sign(ctx, messages...)
}

// TestSlowSignerMakesOnePreamble: a preamble that took long is made again at most once, with
// the same nonce, since only the first HMAC may be slow.
func TestSlowSignerMakesOnePreamble(t *testing.T) {
	for name, slow := range map[string]int{"at first": 1, "always": 100} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1_800_000_000, 0)
			c := newTestProver(t, func() time.Time { return now })
			n := 0
			c.profile.Signer = slowSigner{SecretSigner("a secret"), func(n int) {
				if n < slow {
					now = now.Add(time.Minute)
				}
			}, &n}
			f := prepare(t, c)
			r, err := c.nonces.read()
			if err != nil || r.next-r.opened != 1 || n != 2 {
				t.Errorf("%d nonces are used, and %d HMACs made, %v", r.next-r.opened, n, err)
			}
			p, err := preamble.Parse(sliceOf(f.client.Preamble()))
			if err != nil || slow == 1 && p.Timestamp != uint32(now.Unix()) {
				t.Errorf("the preamble has the time %d at %d, %v", p.Timestamp, now.Unix(), err)
			}
		})
	}
}

func sliceOf(b [preamble.Size]byte) []byte { return b[:] }

// TestTooSlowForAProof: if a signer has the HMACs for the answer after the server has
// ended the connection, the client reports the signer, and sends no proof. A slow first
// HMAC does not matter.
func TestTooSlowForAProof(t *testing.T) {
	for _, row := range []struct {
		each time.Duration
		ok   bool
	}{{serverTime/2 - 100*time.Millisecond, true}, {serverTime / 2, false}, {time.Minute, false}} {
		t.Run(row.each.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestProver(t, time.Now)
				n := 0
				c.profile.Signer = slowSigner{SecretSigner("a secret"), func(n int) { time.Sleep(row.each) }, &n}
				f := prepare(t, c)
				client, server := net.Pipe()
				defer server.Close()
				sent := make(chan int64)
				go func() {
					defer close(sent)
					first := make([]byte, preamble.Size)
					io.ReadFull(server, first)
					server.Write(answerTo(t, first))
					m, _ := io.Copy(io.Discard, server)
					sent <- m
				}()
				err := f.Prove(t.Context(), client)
				client.Close()
				m := <-sent
				var signing *SigningError
				ok := err == nil && m == preamble.ProofSize
				if ok != row.ok || !ok && (!errors.As(err, &signing) || m != 0) {
					t.Errorf("%d bytes, and %v", m, err)
				}
			})
		})
	}
}

// answerTo is the answer of a server with the secret "a secret".
func answerTo(t *testing.T, first []byte) []byte {
	t.Helper()
	p, err := preamble.Parse(first)
	if err != nil {
		t.Error(err)
	}
	nonce := [preamble.NonceSize]byte{1, 2, 3}
	sum, _ := preamble.SecretMAC([]byte("a secret"))(preamble.AppendAnswerMessage(nil, "web", p, nonce))
	return append(nonce[:], sum[:]...)
}

// TestOnlyRejectionsChangeTheNonces: after a proof that the server has rejected, the next
// one has nonces of the other series. Connections that were interrupted, that another
// program has, or that stay without an answer do not change the series.
func TestOnlyRejectionsChangeTheNonces(t *testing.T) {
	rejecting := func(s net.Conn) { s.Close() }
	silent := func(s net.Conn) {}
	for _, row := range []struct {
		name    string
		server  func(s net.Conn)
		ctx     time.Duration
		changes bool
	}{
		{"rejected", rejecting, time.Hour, true},
		{"silent", silent, time.Hour, false},
		{"interrupted", silent, time.Second, false},
		{"another program", func(s net.Conn) { s.Write(make([]byte, preamble.AnswerSize)) }, time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestProver(t, time.Now)
				if err := c.nonces.update(t.Context(), func(r *nonceRecord) error {
					r.other = r.next + 1<<20
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				first := prepare(t, c)
				client, server := net.Pipe()
				defer client.Close()
				defer server.Close()
				go func() {
					io.ReadFull(server, make([]byte, preamble.Size))
					row.server(server)
				}()
				ctx, cancel := context.WithTimeout(t.Context(), row.ctx)
				defer cancel()
				if err := first.Prove(ctx, client); err == nil {
					t.Fatal("it is proved")
				}
				was, is := nonceOf(t, first), nonceOf(t, prepare(t, c))
				if changed := is != was+1; changed != row.changes {
					t.Errorf("the nonce %d follows %d", is, was)
				}
			})
		})
	}
}

func nonceOf(t *testing.T, f *Proof) uint32 {
	t.Helper()
	p, err := preamble.Parse(sliceOf(f.client.Preamble()))
	if err != nil {
		t.Fatal(err)
	}
	return p.Nonce
}

// TestProofFollowsTheSequence: the nonces of connections after a sequence are above its
// nonces, whichever these are; those of a later sequence are others.
func TestProofFollowsTheSequence(t *testing.T) {
	c := newTestProver(t, time.Now)
	base, ok, err := c.nonces.reserveByClock(t.Context(), 3, time.Now())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	c.opened = uint64(base) + 3
	for i := range uint32(3) {
		if p := proveAt(t, c); p.Nonce != base+3+i {
			t.Errorf("connection %d has the nonce %d, want %d", i, p.Nonce, base+3+i)
		}
	}
	next, _, err := c.nonces.Reserve(t.Context(), "com1", 3, time.Now())
	if err != nil || next <= base+5 && next+3 > base {
		t.Errorf("the next sequence begins at %d, %v", next, err)
	}
}

// TestUnprovedConnections: the errors of connections that cannot prove themselves.
func TestUnprovedConnections(t *testing.T) {
	for _, row := range []struct {
		name   string
		server func(s net.Conn, first []byte)
		want   error
	}{
		{"an answer without the secret", func(s net.Conn, _ []byte) { s.Write(make([]byte, preamble.AnswerSize)) }, preamble.ErrNotAuthentic},
		{"the preamble as the answer", func(s net.Conn, first []byte) { s.Write(first) }, preamble.ErrNotAuthentic},
		{"the end", func(s net.Conn, _ []byte) { s.Close() }, errUnproved},
		{"half an answer, and the end", func(s net.Conn, _ []byte) {
			s.Write(make([]byte, preamble.AnswerSize/2))
			s.Close()
		}, errUnproved},
	} {
		t.Run(row.name, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			defer server.Close()
			more := make(chan []byte, 1)
			go func() {
				first := make([]byte, preamble.Size)
				io.ReadFull(server, first)
				row.server(server, first)
				b, _ := io.ReadAll(server)
				more <- b
			}()
			err := prepare(t, newTestProver(t, time.Now)).Prove(t.Context(), client)
			client.Close()
			if !errors.Is(err, row.want) || errors.Is(err, io.EOF) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if b := <-more; len(b) > 0 {
				t.Errorf("the client sent %d bytes after the preamble", len(b))
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		f := prepare(t, newTestProver(t, time.Now))
		go func() { done <- f.Prove(ctx, client) }()
		io.ReadFull(server, make([]byte, preamble.Size))
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
