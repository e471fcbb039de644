package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/preamble"
)

// boundConfig is a raceConfig for a service with BindConnection that keeps the connection.
func boundConfig(t *testing.T, addresses ...string) Config {
	cfg := raceConfig(t, addresses...)
	cfg.Keep = true
	cfg.Profile.Bind, cfg.Profile.ServiceName, cfg.Profile.Handshake = BindConnection, "web", HandshakeGranted
	cfg.Profile.Secret = []byte("a secret") // of answerTo
	return cfg
}

// serveBound accepts connections at an address, with a goroutine for each.
func serveBound(t *testing.T, at string, serve func(c net.Conn)) {
	t.Helper()
	holdPortsAt(t, at)
	l, err := net.Listen("tcp", at+":8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(netns.Deadline(t))
				serve(c)
			}()
		}
	}()
}

// answerPreamble reads a preamble, and answers it when the test lets it. Proved: the client
// has sent the proof.
func answerPreamble(t *testing.T, c net.Conn, answer func()) (proved bool) {
	first := make([]byte, preamble.Size)
	if _, err := io.ReadFull(c, first); err != nil {
		return false
	}
	answer()
	c.Write(answerTo(t, first))
	n, err := io.ReadFull(c, make([]byte, preamble.ProofSize))
	if n > 0 && err != nil {
		t.Errorf("%d bytes of a proof, %v", n, err)
	}
	return err == nil
}

// TestSilentImpostor: a program that accepts connections at one address of the server, and
// is silent, does not delay the proof at another one.
func TestSilentImpostor(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var began, ended atomic.Bool
	impostor := make(chan struct{})
	serveBound(t, "127.1.0.1", func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, preamble.Size)); err != nil {
			return
		}
		if !began.Swap(true) {
			close(impostor)
		}
		io.Copy(io.Discard, c)
		ended.Store(true)
	})
	result := make(chan bool, 1)
	serveBound(t, "127.1.0.2", func(c net.Conn) {
		late := false
		if answerPreamble(t, c, func() { <-impostor; late = ended.Load() }) {
			result <- late
			io.Copy(c, c)
		}
	})
	r, err := Knock(t.Context(), boundConfig(t, "127.1.0.1", "127.1.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Conn.Close()
	if r.Attempts != 1 || r.Service != netip.MustParseAddrPort("127.1.0.2:8080") {
		t.Errorf("%+v", r)
	}
	if <-result {
		t.Error("the client had given up the silent program before")
	}
}

// TestImpostorAtOneAddress: an answer that is not authentic at one address does not end the
// attempts at another one.
func TestImpostorAtOneAddress(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	serveBound(t, "127.1.0.1", func(c net.Conn) {
		io.ReadFull(c, make([]byte, preamble.Size))
		c.Write(make([]byte, preamble.AnswerSize))
		if n, _ := io.Copy(io.Discard, c); n != 0 {
			t.Errorf("it got %d bytes after a wrong answer", n)
		}
	})
	holdPortsAt(t, "127.1.0.2")
	service := hide(t, "127.1.0.2:8080")
	var proved atomic.Bool
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			if answerPreamble(t, c, func() {}) {
				proved.Store(true)
			}
		}
	}()
	cfg := boundConfig(t, "127.1.0.1", "127.1.0.2")
	cfg.Attempts, cfg.Timeout = 100, 500*time.Millisecond // a busy machine may need more than two
	cfg.Report = func(e Event) {
		if s, ok := e.(Sent); ok && s.Attempt == 2 {
			service.open()
		}
	}
	r, err := Knock(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Conn.Close()
	netns.Until(t, "the proof", proved.Load)
	if r.Attempts < 2 {
		t.Errorf("%+v", r)
	}
	// At all addresses, nothing else follows.
	cfg = boundConfig(t, "127.1.0.1")
	r, err = Knock(t.Context(), cfg)
	var offline *OfflineError
	if !errors.As(err, &offline) || offline.Reason != ReasonImpostor || offline.Attempts != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestOneProof: two servers prove themselves at the same time, and one of them gets the
// proof: the program behind the port sees one connection.
func TestOneProof(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var arrived atomic.Int32
	both := make(chan struct{})
	results := make(chan bool, 2)
	for _, at := range []string{"127.1.0.1", "127.1.0.2"} {
		serveBound(t, at, func(c net.Conn) {
			proved := answerPreamble(t, c, func() {
				if arrived.Add(1) == 2 {
					close(both)
				}
				<-both
			})
			results <- proved
			if proved {
				io.Copy(c, c)
			}
		})
	}
	r, err := Knock(t.Context(), boundConfig(t, "127.1.0.1", "127.1.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Conn.Close()
	if one, other := <-results, <-results; one == other {
		t.Errorf("both servers have the proof: %v", one)
	}
	io.WriteString(r.Conn, "text")
	b := make([]byte, 4)
	if _, err := io.ReadFull(r.Conn, b); err != nil || string(b) != "text" {
		t.Errorf("got %q, %v", b, err)
	}
}

// waitingSigner is a signer that calls wait before its n-th answer, from 1 on.
type waitingSigner struct {
	secret SecretSigner
	n      atomic.Int32
	wait   func(ctx context.Context, n int)
}

func (s *waitingSigner) Sign(ctx context.Context, messages ...[]byte) ([]MAC, error) {
	if s.wait(ctx, int(s.n.Add(1))); ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.secret.Sign(ctx, messages...)
}

// TestPreambleBeforeConnection: while a slow signer makes the preamble, no connection waits
// for it. The server gets the preamble on one that begins afterwards.
func TestPreambleBeforeConnection(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	accepted := make(chan struct{}, 100)
	proved := make(chan bool, 100)
	var ready atomic.Bool
	serveBound(t, "127.0.0.1", func(c net.Conn) {
		before := !ready.Load()
		accepted <- struct{}{} // the kernel completes a half-open handshake after a time
		switch ok := answerPreamble(t, c, func() {}); {
		case ok && before:
			t.Error("the connection began before its preamble was made")
			fallthrough
		case ok:
			proved <- true
		}
	})
	cfg := boundConfig(t, "127.0.0.1")
	signer := &waitingSigner{secret: cfg.Profile.Secret, wait: func(_ context.Context, n int) {
		if n == 2 { // the first preamble
			<-accepted
			time.Sleep(2 * maxSpare)
			ready.Store(true)
		}
	}}
	cfg.Profile.Signer, cfg.Profile.Secret = signer, nil
	r, err := Knock(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Conn.Close()
	if !<-proved || r.Attempts != 1 || signer.n.Load() != 4 {
		t.Errorf("%+v after %d calls of the signer", r, signer.n.Load())
	}
}

// TestSignerOfOtherAddress: while a slow signer works for the second address, the client
// takes the answer of the first.
func TestSignerOfOtherAddress(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	for _, at := range []string{"127.1.0.1", "127.1.0.2"} {
		holdPortsAt(t, at)
	}
	service := hide(t, "127.1.0.1:8080")
	cfg := raceConfig(t, "127.1.0.1", "127.1.0.2")
	ended := make(chan error, 1)
	cfg.Profile.Signer, cfg.Profile.Secret = &waitingSigner{secret: cfg.Profile.Secret, wait: func(ctx context.Context, n int) {
		if n == 2 {
			service.open()
			<-ctx.Done() // until the client has a connection
			ended <- ctx.Err()
		}
	}}, nil
	cfg.Keep = true
	r, err := Knock(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Conn.Close()
	err = <-ended
	if r.Attempts != 1 || r.Address != netip.MustParseAddr("127.1.0.1") || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNothingAfterTheEnd: when Knock has returned, it writes no nonce.
func TestNothingAfterTheEnd(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	serveBound(t, "127.0.0.1", func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := boundConfig(t, "127.0.0.1")
	var signing atomic.Int32
	cfg.Profile.Signer, cfg.Profile.Secret = &waitingSigner{secret: cfg.Profile.Secret, wait: func(ctx context.Context, n int) {
		signing.Add(1)
		defer signing.Add(-1)
		if n == 2 {
			cancel()
			<-ctx.Done()
		}
	}}, nil
	_, err := Knock(ctx, cfg)
	if !errors.Is(err, context.Canceled) || signing.Load() != 0 {
		t.Errorf("%v, and the signer has %d calls", err, signing.Load())
	}
}
