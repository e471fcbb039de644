package preamble

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"sallyport/verify/wire"
)

type preambleVector struct {
	ID, Comment, Key, Service, Preamble, Result string
	Identifier                                  string
	Timestamp, Nonce                            uint32
}

type handshakeVector struct {
	preambleVector
	Answer, Proof string
}

type vectorFile struct {
	Preambles  []preambleVector
	Handshakes []handshakeVector
}

func vectors(t testing.TB) (file vectorFile) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Preambles) == 0 || len(file.Handshakes) == 0 {
		t.Fatal("no vectors")
	}
	return file
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (v preambleVector) client(t testing.TB) *Client {
	t.Helper()
	c, err := NewClient(v.Service, wire.Identifier([]byte(v.Identifier)), v.Timestamp, v.Nonce, SecretMAC([]byte(v.Key)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// judge checks a preamble as a server does that has the key.
func judge(b []byte, service string, key []byte) string {
	p, err := Parse(b)
	var rule Rule
	if errors.As(err, &rule) {
		return rule.String()
	}
	if want, _ := SecretMAC(key)(AppendPreambleMessage(nil, service, p)); want != p.MAC {
		return "mac"
	}
	return "valid"
}

func TestPreambleVectors(t *testing.T) {
	for _, v := range vectors(t).Preambles {
		t.Run(v.ID, func(t *testing.T) {
			b := unhex(t, v.Preamble)
			if got := judge(b, v.Service, []byte(v.Key)); got != v.Result {
				t.Fatalf("%s: got %s, want %s", v.Comment, got, v.Result)
			}
			if v.Result != "valid" {
				return
			}
			if got := v.client(t).Preamble(); !bytes.Equal(got[:], b) {
				t.Errorf("made %x, want %x", got, b)
			}
		})
	}
}

func TestHandshakeVectors(t *testing.T) {
	for _, v := range vectors(t).Handshakes {
		t.Run(v.ID, func(t *testing.T) {
			c := v.client(t)
			if got := c.Preamble(); !bytes.Equal(got[:], unhex(t, v.Preamble)) {
				t.Fatalf("preamble %x, want %s", got, v.Preamble)
			}
			proof, err := c.Answer(unhex(t, v.Answer))
			switch {
			case v.Result == "valid":
				if err != nil || !bytes.Equal(proof[:], unhex(t, v.Proof)) {
					t.Errorf("proof %x (%v), want %s", proof, err, v.Proof)
				}
			case !errors.Is(err, ErrNotAuthentic) || proof != [ProofSize]byte{}:
				t.Errorf("%s: got %x (%v), want %v", v.Comment, proof, err, ErrNotAuthentic)
			}
		})
	}
}

// TestNoKnock: a knock is no preamble and a preamble is no knock, by its bytes alone, and
// neither has a MAC of the other.
func TestNoKnock(t *testing.T) {
	secret := []byte("com1_secret")
	k := wire.Knock{Sequence: 0, Maximum: 2, Identifier: wire.Identifier([]byte("com1")), Timestamp: 1_700_000_000, Nonce: 7}.Sign(secret)
	knock, err := k.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(knock); !errors.Is(err, RuleKind) {
		t.Errorf("a knock is a preamble: %v", err)
	}
	b := vectors(t).Handshakes[0].client(t).Preamble()
	if _, err := wire.Parse(b[:]); !errors.Is(err, wire.RuleMaximum) {
		t.Errorf("a preamble is a knock: %v", err)
	}
	// The MAC that a knock of these 16 bytes would have.
	sum, err := SecretMAC(secret)(b[:SignedSize])
	if err != nil {
		t.Fatal(err)
	}
	copy(b[wire.OffsetMAC:], sum[:])
	if got := judge(b[:], "ssh", secret); got != "mac" {
		t.Errorf("with the MAC of a knock: %s", got)
	}
}

// TestMessagesDiffer: no message that a secret signs is another one, or the beginning of
// one, whatever the names of the services.
func TestMessagesDiffer(t *testing.T) {
	p := Preamble{Identifier: wire.Identifier([]byte("com1")), Timestamp: 1, Nonce: 2}
	knock := p.append(nil)[:SignedSize]
	isn := wire.ISNMessage(p.Identifier, 2)
	closing := wire.ClosingMessage([wire.SignedSize]byte(knock))
	all := map[string][]byte{"knock": knock, "closing": closing[:], "isn": isn[:], "fingerprint": []byte("sallyport: used nonces of a secret")}
	for _, service := range []string{"a", "ssh", "ssh2", "ssh\x03ssh", string(bytes.Repeat([]byte{'s'}, MaxService))} {
		all["preamble of "+service] = AppendPreambleMessage(nil, service, p)
		all["answer of "+service] = AppendAnswerMessage(nil, service, p, [NonceSize]byte{})
		all["proof of "+service] = AppendProofMessage(nil, service, p, [NonceSize]byte{})
	}
	for name, m := range all {
		if len(m) > MaxMessage {
			t.Errorf("%s has %d bytes", name, len(m))
		}
		for other, n := range all {
			if name != other && bytes.HasPrefix(n, m) {
				t.Errorf("%s begins %s", name, other)
			}
		}
	}
	if len(all) != 4+3*5 {
		t.Errorf("%d messages", len(all))
	}
}

func TestNewClientRefuses(t *testing.T) {
	id := wire.Identifier([]byte("com1"))
	broken := errors.New("no device")
	fails := func([]byte) (m [wire.MACSize]byte, err error) { return m, broken }
	mac := SecretMAC([]byte("s"))
	if _, err := NewClient("", id, 1, 1, mac); err == nil {
		t.Error("a service without a name")
	}
	if _, err := NewClient(string(make([]byte, MaxService+1)), id, 1, 1, mac); err == nil {
		t.Error("a name that is too long")
	}
	if _, err := NewClient("ssh", wire.Identifier{}, 1, 1, mac); !errors.Is(err, RuleIdentifier) {
		t.Errorf("an identifier that is not printable: %v", err)
	}
	if _, err := NewClient("ssh", id, 1, 1, fails); !errors.Is(err, broken) {
		t.Errorf("a device that fails: %v", err)
	}
}

// TestDeviceFails: no proof is made if the device fails later.
func TestDeviceFails(t *testing.T) {
	v := vectors(t).Handshakes[0]
	broken := errors.New("no device")
	for calls := 1; calls < 3; calls++ {
		left := calls
		real := SecretMAC([]byte(v.Key))
		c, err := NewClient(v.Service, wire.Identifier([]byte(v.Identifier)), v.Timestamp, v.Nonce, func(m []byte) (sum [wire.MACSize]byte, err error) {
			if left--; left < 0 {
				return sum, broken
			}
			return real(m)
		})
		if err != nil {
			t.Fatal(err)
		}
		proof, err := c.Answer(unhex(t, v.Answer))
		if !errors.Is(err, broken) || errors.Is(err, ErrNotAuthentic) || proof != [ProofSize]byte{} {
			t.Errorf("after %d calls: %x, %v", calls, proof, err)
		}
	}
}

// TestServerSideDoesNotAllocate: what a server does for a stranger.
func TestServerSideDoesNotAllocate(t *testing.T) {
	b := vectors(t).Handshakes[0].client(t).Preamble()
	buffer := make([]byte, 0, MaxMessage)
	if n := testing.AllocsPerRun(100, func() {
		p, err := Parse(b[:])
		if err != nil {
			t.Fatal(err)
		}
		AppendPreambleMessage(buffer, "ssh", p)
		AppendAnswerMessage(buffer, "ssh", p, [NonceSize]byte{})
		AppendProofMessage(buffer, "ssh", p, [NonceSize]byte{})
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
