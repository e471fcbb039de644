package sshkey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/verify/challenge/exchange"
)

// fakeAgent is an SSH agent with one key, and a function of a test that signs.
type fakeAgent struct {
	blob []byte
	sign func(data []byte) (*ssh.Signature, error)
}

// serve answers as ssh-agent does. The server of x/crypto does not know all types of keys.
func (f fakeAgent) serve(conn io.ReadWriter) {
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		answer := []byte{5} // failure
		switch request[0] {
		case 11: // the list
			answer = appendField(appendField([]byte{12, 0, 0, 0, 1}, f.blob), nil)
		case 13: // a signature
			rest := request[1:]
			rest = rest[4+binary.BigEndian.Uint32(rest):]
			if signature, err := f.sign(rest[4 : 4+binary.BigEndian.Uint32(rest)]); err == nil {
				blob := appendField(appendField(nil, []byte(signature.Format)), signature.Blob)
				answer = appendField([]byte{14}, append(blob, signature.Rest...))
			}
		}
		conn.Write(appendField(nil, answer))
	}
}

func appendField(dst, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
}

// hintOf returns the hint of an error.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// signerBy returns a signer whose agent is a function.
func signerBy(serve func(net.Conn), stderr io.Writer, keys ...exchange.PublicKey) *agentSigner {
	return &agentSigner{keys: keys, limit: listTime, stderr: stderr, dial: func(context.Context) (io.ReadWriteCloser, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			serve(there)
		}()
		return here, nil
	}}
}

// notices is what a signer prints. It is safe for concurrent use.
type notices struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notices) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(b)
}

func (n *notices) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

func testKey(t *testing.T) (exchange.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return exchange.PublicKey{Key: [ed25519.PublicKeySize]byte(public)}, private
}

func data(message string) []byte { return []byte(exchange.SignedPrefix + message) }

// TestAgentThatHangs: an agent that takes a connection and never answers ends Prepare
// after a time, and Sign with its context; both print for what they wait. Slow answers,
// byte by byte, change nothing.
func TestAgentThatHangs(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"silent": func(c net.Conn) { io.Copy(io.Discard, c) },
		"deaf":   func(net.Conn) { time.Sleep(time.Hour) },
		"slow": func(c net.Conn) {
			go io.Copy(io.Discard, c)
			for _, b := range []byte{0, 0, 1, 0, 12, 0, 0, 0, 1} {
				c.Write([]byte{b})
				time.Sleep(9 * time.Second)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			k, _ := testKey(t)
			var stderr notices
			s := signerBy(serve, &stderr, k)
			begun := time.Now()
			err := s.Prepare(t.Context())
			took := time.Since(begun)
			if err == nil || took != listTime || !strings.Contains(err.Error(), "within 30s, got none") || hintOf(err) == "" {
				t.Errorf("%s: %v after %s", name, err, took)
			}
			if got := stderr.String(); got != "waiting for the SSH agent to list its keys\n" {
				t.Errorf("%s: printed %q", name, got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begun = time.Now()
			_, err = s.Sign(ctx, data("m"))
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
				t.Errorf("%s: %v after %s", name, err, time.Since(begun))
			}
			time.Sleep(time.Hour) // of the deaf one
		})
	}
}

// TestAgentThatCannotBeClosed: on some systems, neither the context nor Close ends a read.
func TestAgentThatCannotBeClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := testKey(t)
		s := signerBy(nil, nil, k)
		s.dial = func(context.Context) (io.ReadWriteCloser, error) { return endless{}, nil }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		if err := s.Prepare(ctx); err != context.Canceled || time.Since(begun) != time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		time.Sleep(time.Hour)
	})
}

type endless struct{}

func (endless) Read([]byte) (int, error)    { time.Sleep(time.Hour); return 0, io.EOF }
func (endless) Write(b []byte) (int, error) { return len(b), nil }
func (endless) Close() error                { return nil }

// TestAgentAnswers: wrong answers of an agent are errors, and never responses.
func TestAgentAnswers(t *testing.T) {
	k, private := testKey(t)
	_, other := testKey(t)
	raw := func(answer ...byte) func(net.Conn) {
		return func(c net.Conn) {
			c.Read(make([]byte, 64))
			c.Write(answer)
		}
	}
	signs := func(f func([]byte) (*ssh.Signature, error)) func(net.Conn) {
		return func(c net.Conn) { fakeAgent{blob: k.Marshal(), sign: f}.serve(c) }
	}
	refused := errors.New("denied")
	for _, c := range []struct {
		want  string
		serve func(net.Conn)
	}{
		{"response too large", raw(0xff, 0xff, 0xff, 0xff, 12)},
		{"EOF", raw(0, 0, 0, 10, 12, 0, 0, 0, 1)},
		{"list the keys", raw(0, 0, 0, 0)},
		{"list the keys", raw(0, 0, 0, 1, 5)},
		{"list the keys", raw(0, 0, 0, 5, 12, 0xff, 0xff, 0xff, 0xff)},
		{"list the keys", raw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")...)},
		{"none of public_keys", raw(0, 0, 0, 5, 12, 0, 0, 0, 0)},
		{"refused to sign with SHA256:", signs(func([]byte) (*ssh.Signature, error) { return nil, refused })},
		{`expected a signature of type ssh-ed25519 from the SSH agent, got "rsa-sha2-512"`, signs(func(d []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: "rsa-sha2-512", Blob: ed25519.Sign(private, d)}, nil
		})},
		{"got one that is not valid", signs(func(d []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: k.Type(), Blob: ed25519.Sign(other, d)}, nil
		})},
		{"got one that is not valid", signs(func(d []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: k.Type(), Blob: ed25519.Sign(private, d), Rest: []byte{1, 0, 0, 0, 1}}, nil
		})},
		{"got one that is not valid", signs(func([]byte) (*ssh.Signature, error) { return &ssh.Signature{Format: k.Type()}, nil })},
	} {
		response, err := signerBy(c.serve, nil, k).Sign(t.Context(), data("m"))
		if err == nil || !strings.Contains(err.Error(), c.want) || response != nil {
			t.Errorf("want %q, got %v, %x", c.want, err, response)
		}
	}
}

// TestAgentWithSecurityKey: a model of a security key signs through the agent, and the
// person who must touch it is asked at once.
func TestAgentWithSecurityKey(t *testing.T) {
	public, private := testKey(t)
	k := exchange.PublicKey{Key: public.Key, Application: "ssh:"}
	sign := func(flags byte) func([]byte) (*ssh.Signature, error) {
		return func(d []byte) (*ssh.Signature, error) {
			application, message := sha256.Sum256([]byte(k.Application)), sha256.Sum256(d)
			rest := []byte{flags, 0, 0, 0, 7}
			return &ssh.Signature{Format: k.Type(), Blob: ed25519.Sign(private, slices.Concat(application[:], rest, message[:])), Rest: rest}, nil
		}
	}
	for _, flags := range []byte{0, 1, 5} {
		var stderr notices
		s := signerBy(func(c net.Conn) { fakeAgent{blob: k.Marshal(), sign: sign(flags)}.serve(c) }, &stderr, k)
		response, err := s.Sign(t.Context(), data("m"))
		if err != nil || len(response) != exchange.SecuritySignatureSize || response[exchange.SignatureSize] != flags {
			t.Fatalf("flags %d: %x, %v", flags, response, err)
		}
		if got := k.Verifies(data("m"), response); got != (flags != 0) {
			t.Errorf("flags %d: the server accepts: %v", flags, got)
		}
		if got := stderr.String(); got != "waiting for the SSH agent to sign: touch the security key when it blinks\n" {
			t.Errorf("printed %q", got)
		}
	}
}
