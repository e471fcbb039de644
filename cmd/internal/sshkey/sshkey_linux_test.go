package sshkey

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/sessions/client"
	"sallyport/verify/challenge/exchange"
)

const words = "correct horse battery staple"

// openSSH has the keys that ssh-keygen made: alice, locked (with a passphrase), mallory
// and ecdsa.
type openSSH struct {
	t   *testing.T
	dir string
}

func newOpenSSH(t *testing.T) openSSH {
	t.Helper()
	for _, program := range []string{"ssh-keygen", "ssh-agent", "ssh-add"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("requires openssh-client: ", err)
		}
	}
	o := openSSH{t, t.TempDir()}
	for name, passphrase := range map[string]string{"alice": "", "locked": words, "mallory": "", "ecdsa": ""} {
		kind := "ed25519"
		if name == "ecdsa" {
			kind = name
		}
		o.run(nil, "ssh-keygen", "-q", "-t", kind, "-a", "1", "-N", passphrase, "-f", o.path(name))
	}
	return o
}

func (o openSSH) path(name string) string { return filepath.Join(o.dir, name) }

func (o openSSH) run(stdin []byte, name string, args ...string) string {
	o.t.Helper()
	c := exec.Command(name, args...)
	c.Stdin = bytes.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		o.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func (o openSSH) public(name string) exchange.PublicKey {
	o.t.Helper()
	text, err := os.ReadFile(o.path(name + ".pub"))
	if err != nil {
		o.t.Fatal(err)
	}
	k, err := exchange.ParsePublicText(string(text))
	if err != nil {
		o.t.Fatal(err)
	}
	got := o.run(nil, "ssh-keygen", "-l", "-f", o.path(name+".pub"))
	if !strings.Contains(got, " "+Fingerprint(k)+" ") {
		o.t.Errorf("%s has the fingerprint %s, ssh-keygen prints %s", name, Fingerprint(k), got)
	}
	return k
}

func field(dst []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(text))), text...)
}

// toSign is what a signer gets for a message.
func toSign(message string) []byte {
	sum := sha512.Sum512([]byte(message))
	return field(field(field([]byte(exchange.SignedPrefix), ""), "sha512"), string(sum[:]))
}

// verify lets ssh-keygen verify a response.
func (o openSSH) verify(k exchange.PublicKey, message string, response []byte) {
	o.t.Helper()
	blob := binary.BigEndian.AppendUint32([]byte("SSHSIG"), 1)
	blob = field(field(field(field(blob, string(k.Marshal())), exchange.Namespace), ""), "sha512")
	blob = field(blob, string(field(field(nil, k.Type()), string(response))))
	armour := fmt.Sprintf("-----BEGIN SSH SIGNATURE-----\n%s\n-----END SSH SIGNATURE-----\n", base64.StdEncoding.EncodeToString(blob))
	for name, text := range map[string]string{"sig": armour, "allowed": "alice " + k.String() + "\n"} {
		if err := os.WriteFile(o.path(name), []byte(text), 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	o.run([]byte(message), "ssh-keygen", "-Y", "verify", "-f", o.path("allowed"), "-I", "alice", "-n", exchange.Namespace, "-s", o.path("sig"))
}

// TestFile: ssh-keygen verifies the signatures of keys in files, with and without a
// passphrase, which is asked for once.
func TestFile(t *testing.T) {
	o := newOpenSSH(t)
	for name, asked := range map[string]int{"alice": 0, "locked": 1} {
		k, prompts := o.public(name), 0
		s := For(client.Challenge{KeyFile: o.path(name), PublicKeys: []exchange.PublicKey{{Key: [32]byte{1}}, k}},
			func(_ context.Context, prompt string) (string, error) {
				if prompts++; prompt != "passphrase of key locked" {
					t.Errorf("prompt %q", prompt)
				}
				return words, nil
			}, nil)
		if _, err := s.Sign(t.Context(), toSign("early")); err == nil {
			t.Errorf("%s signs before it is prepared", name)
		}
		for range 2 {
			if err := s.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			response, err := s.Sign(t.Context(), toSign("a message"))
			if err != nil {
				t.Fatal(err)
			}
			o.verify(k, "a message", response)
		}
		if prompts != asked {
			t.Errorf("%s: %d prompts", name, prompts)
		}
		if r, err := s.Sign(t.Context(), []byte("SSHSIG\x00\x00\x00\x03git")); err == nil {
			t.Errorf("%s signs for another namespace: %x", name, r)
		}
	}
}

// TestAgent: ssh-agent signs with the key that the server knows, among others; and not
// if it lacks the key, is locked, or does not answer.
func TestAgent(t *testing.T) {
	o := newOpenSSH(t)
	socket := o.path("agent")
	c := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	for range 500 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	o.run(nil, "ssh-add", "-q", o.path("mallory"), o.path("ecdsa"))
	alice := o.public("alice")
	s := For(client.Challenge{Agent: true, PublicKeys: []exchange.PublicKey{alice}}, nil, nil)
	if err := s.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "none of public_keys") {
		t.Errorf("without the key: %v", err)
	}
	o.run(nil, "ssh-add", "-q", o.path("alice"))
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	response, err := s.Sign(t.Context(), toSign("a message"))
	if err != nil {
		t.Fatal(err)
	}
	o.verify(alice, "a message", response)
	if r, err := s.Sign(t.Context(), []byte("any bytes")); err == nil {
		t.Errorf("the agent signs other data: %x", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Prepare(ctx) }()
	cancel()
	if err := <-done; err == nil {
		t.Error("an agent that does not answer has the key")
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	if err := s.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "SSH_AUTH_SOCK is not set") {
		t.Errorf("without an agent: %v", err)
	}
}
