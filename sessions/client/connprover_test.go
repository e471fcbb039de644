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
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	server.SetDeadline(netns.Deadline(t))
	done := make(chan error, 1)
	go func() { done <- c.Prove(t.Context(), client) }()
	first, proof := make([]byte, preamble.Size), make([]byte, preamble.ProofSize)
	if _, err := io.ReadFull(server, first); err != nil {
		t.Fatal(err)
	}
	p, err := preamble.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	mac, nonce := preamble.SecretMAC([]byte("a secret")), [preamble.NonceSize]byte{1, 2, 3}
	sum, _ := mac(preamble.AppendAnswerMessage(nil, "web", p, nonce))
	server.Write(append(nonce[:], sum[:]...))
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

// TestProofsUseNewNonces: each connection has a nonce that is recorded before it is sent,
// also if its preamble was made ahead, or the one who asked for that has gone. A preamble
// that was made too long ago is not sent.
func TestProofsUseNewNonces(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := newTestProver(t, func() time.Time { return now })
	var used []uint32
	prove := func() {
		t.Helper()
		p := proveAt(t, c)
		if slices.Contains(used, p.Nonce) || p.Timestamp != uint32(now.Unix()) {
			t.Errorf("the preamble has the nonce %d after %v, and the time %d at %d", p.Nonce, used, p.Timestamp, now.Unix())
		}
		r, err := c.nonces.read()
		if err != nil || r.next <= uint64(p.Nonce) {
			t.Errorf("the nonce %d is sent, and the record has %v, %v", p.Nonce, r, err)
		}
		used = append(used, p.Nonce)
	}
	prove()
	c.Prepare(t.Context())
	prove()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Prepare(ctx)
	prove()
	c.Prepare(t.Context())
	<-c.ahead.made
	now = now.Add(preambleAge + time.Second)
	prove()
	c.Prepare(t.Context())
	<-c.ahead.made
	now = now.Add(-time.Hour)
	prove()
}

// slowSigner is a device that takes a minute for each HMAC.
type slowSigner struct {
	SecretSigner
	now *time.Time
}

func (s slowSigner) Sign(ctx context.Context, messages ...[]byte) ([]MAC, error) {
	*s.now = s.now.Add(time.Minute)
	return s.SecretSigner.Sign(ctx, messages...)
}

// TestSlowSignerMakesOnePreamble: a preamble that took long is not made again without end.
func TestSlowSignerMakesOnePreamble(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := newTestProver(t, func() time.Time { return now })
	c.profile.Signer = slowSigner{SecretSigner("a secret"), &now}
	c.Prepare(t.Context())
	if _, err := c.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := c.nonces.read()
	if err != nil || r.next-r.opened > 2 {
		t.Errorf("%d nonces are used, %v", r.next-r.opened, err)
	}
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
			err := newTestProver(t, time.Now).Prove(t.Context(), client)
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
		go func() { done <- newTestProver(t, time.Now).Prove(ctx, client) }()
		io.ReadFull(server, make([]byte, preamble.Size))
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
