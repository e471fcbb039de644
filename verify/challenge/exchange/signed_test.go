package exchange

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/verify/wire"
)

type keyVector struct {
	ID, Comment, Operation string
	HostSecret             string `json:"host_secret"`
	Host, Key              string
	Options                []string
	Self, Public, Server   netip.Addr
	Ephemeral              string
	NonceA                 string `json:"nonce_a"`
	Port                   uint16
	Request, Challenge     string
	Message, Response      string
	ISN                    wire.ISN
	Ticket                 string
}

func keyVectors(t testing.TB) []keyVector {
	t.Helper()
	text, err := os.ReadFile("testdata/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		About     string
		Exchanges []keyVector
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file.Exchanges
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// publicKey parses the vector's line.
func (v keyVector) publicKey(t testing.TB) PublicKey {
	t.Helper()
	k, err := ParsePublicText(v.Key + " alice@example.org")
	if err != nil || k.String() != v.Key {
		t.Fatalf("%s: %s, %v", v.ID, k, err)
	}
	k.NoTouch, k.VerifyRequired = slices.Contains(v.Options, "no-touch-required"), slices.Contains(v.Options, "verify-required")
	return k
}

// operation returns the server's operation: with other keys of the type before the
// vector's.
func (v keyVector) operation(t testing.TB) *Operation {
	t.Helper()
	host, err := ParseHostKey(v.HostSecret)
	if err != nil {
		t.Fatal(err)
	}
	key := v.publicKey(t)
	other := key
	other.Key[0] ^= 1
	o, err := NewSignedOperation(v.Operation, host, []PublicKey{other, key}, v.Port != 0)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (v keyVector) client(t testing.TB) *Initiator {
	t.Helper()
	host, err := ParseHostPublic(v.Host)
	if err != nil {
		t.Fatal(err)
	}
	o, err := DescribeOperation(v.Operation, Mutual, v.Port != 0)
	if err == nil {
		o, err = o.WithHost(host, v.publicKey(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	i, err := NewSigningInitiator(o, v.Self, v.Server, [KeySize]byte(unhex(t, v.Ephemeral)))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// pending returns the server's challenge.
func (v keyVector) pending(t testing.TB, o *Operation, request []byte) ([]byte, Pending) {
	t.Helper()
	r, err := ParseRequest(o, v.Self.Is6(), request)
	if err != nil {
		t.Fatal(err)
	}
	c, p, err := r.Challenge(nil, v.Public, v.Server, [NonceSize]byte(unhex(t, v.NonceA)), v.Port)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// TestKeyVectors: both ends agree with other code, with ssh-keygen, and with each other.
func TestKeyVectors(t *testing.T) {
	for _, v := range keyVectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			o, c := v.operation(t), v.client(t)
			if o.host.Secret() != v.HostSecret || o.host.String() != v.Host {
				t.Error("the host key has another form")
			}
			request, response := unhex(t, v.Request), unhex(t, v.Response)
			if got := c.Request(); !bytes.Equal(got, request) {
				t.Errorf("request %x, want %x", got, request)
			}
			got, pending := v.pending(t, o, request)
			if want := unhex(t, v.Challenge); !bytes.Equal(got, want) {
				t.Errorf("challenge %x, want %x", got, want)
			}
			a, err := c.Answer(unhex(t, v.Challenge))
			if err != nil {
				t.Fatal(err)
			}
			if a.Public != v.Public || a.Port != v.Port || a.ISN != v.ISN || hex.EncodeToString(a.Ticket[:]) != v.Ticket || a.Response != nil {
				t.Errorf("answer %+v", a)
			}
			if !v.publicKey(t).Verifies(a.ToSign, response) || o.ResponseSize() != len(response) {
				t.Errorf("the client would sign %x", a.ToSign)
			}
			p, ok := pending.Verify(response)
			if !ok || p.Client() != v.Public || p.Operation() != o || p.Port() != v.Port || p.ISN() != v.ISN || p.Ticket() != a.Ticket ||
				p.Key() == nil || p.Key().Fingerprint() != v.publicKey(t).Fingerprint() {
				t.Errorf("proof %+v, %v", p, ok)
			}
		})
	}
}

// TestWrongSignatures: one bit, another size, or another exchange.
func TestWrongSignatures(t *testing.T) {
	for _, v := range keyVectors(t) {
		o, response := v.operation(t), unhex(t, v.Response)
		_, pending := v.pending(t, o, unhex(t, v.Request))
		for bit := range 8 * len(response) {
			if p, ok := pending.Verify(flip(response, bit)); ok || p != (Proof{}) {
				t.Fatalf("%s: bit %d", v.ID, bit)
			}
		}
		for _, wrong := range [][]byte{nil, response[:len(response)-1], append(slices.Clone(response), 0), pending.expected[:]} {
			if _, ok := pending.Verify(wrong); ok {
				t.Errorf("%s: %d bytes", v.ID, len(wrong))
			}
		}
		host, err := NewHostKey(bytes.NewReader(make([]byte, KeySize)))
		if err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(*keyVector, *Operation, []byte){
			"nonce":     func(v *keyVector, _ *Operation, _ []byte) { v.NonceA = strings.Repeat("00", NonceSize) },
			"client":    func(v *keyVector, _ *Operation, _ []byte) { v.Public = v.Public.Next() },
			"server":    func(v *keyVector, _ *Operation, _ []byte) { v.Server = v.Server.Next() },
			"ephemeral": func(_ *keyVector, _ *Operation, request []byte) { request[len(request)-1] ^= 1 },
			"ID":        func(_ *keyVector, o *Operation, request []byte) { o.id, request[0] = "z"+o.id[1:], 'z' },
			"host":      func(_ *keyVector, o *Operation, _ []byte) { o.host, o.public = host, host.Public() },
			"key":       func(_ *keyVector, o *Operation, _ []byte) { o.keys = o.keys[:1] },
		} {
			other, operation, request := v, *o, unhex(t, v.Request)
			change(&other, &operation, request)
			c, pending := other.pending(t, &operation, request)
			if _, ok := pending.Verify(response); ok {
				t.Errorf("%s: the signature is valid for another %s", v.ID, name)
			}
			authentic := name == "key" || name == "nonce" || name == "client"
			if _, err := v.client(t).Answer(c); errors.Is(err, ErrNotAuthentic) == authentic {
				t.Errorf("%s: the client answers a challenge of another %s: %v", v.ID, name, err)
			}
		}
	}
}

// TestForgedSignedChallenges: a client signs no challenge that was changed.
func TestForgedSignedChallenges(t *testing.T) {
	for _, v := range keyVectors(t) {
		challenge, c := unhex(t, v.Challenge), v.client(t)
		for bit := range 8 * len(challenge) {
			if a, err := c.Answer(flip(challenge, bit)); !errors.Is(err, ErrNotAuthentic) || a.ToSign != nil {
				t.Fatalf("%s: bit %d: %v", v.ID, bit, err)
			}
		}
	}
}

// TestSecurityKeyFlags: a signature without a touch, or without a PIN, is valid only
// for a key that permits it.
func TestSecurityKeyFlags(t *testing.T) {
	for _, v := range keyVectors(t) {
		k := v.publicKey(t)
		if !k.IsSecurityKey() {
			continue
		}
		response := unhex(t, v.Response)
		flags := response[SignatureSize]
		for _, strict := range []PublicKey{
			{Key: k.Key, Application: k.Application},
			{Key: k.Key, Application: k.Application, VerifyRequired: true},
		} {
			want := flags&flagTouched != 0 && (flags&flagVerified != 0 || !strict.VerifyRequired)
			if got := strict.Verifies(signedData(sha512.Sum512(unhex(t, v.Message))), response); got != want {
				t.Errorf("%s, flags %d, %+v: %v", v.ID, flags, strict, got)
			}
		}
	}
}

// TestPublicKeyTexts: other types, and damaged keys.
func TestPublicKeyTexts(t *testing.T) {
	for _, v := range keyVectors(t) {
		b := v.publicKey(t).Marshal()
		for n := range b {
			if _, err := ParsePublicKey(b[:n]); err == nil {
				t.Fatalf("%s: %d of %d bytes", v.ID, n, len(b))
			}
		}
		if _, err := ParsePublicKey(append(b, 0)); err == nil {
			t.Errorf("%s: a byte more", v.ID)
		}
	}
	plain := keyVectors(t)[0].Key
	_, body, _ := strings.Cut(plain, " ")
	for line, want := range map[string]string{
		"":                        "expected the type",
		"ssh-ed25519":             "expected the type",
		"ssh-ed25519 !":           "base64",
		"ssh-rsa " + body:         "another type",
		securityType + " " + body: "another type",
		"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQ==": `got "ssh-rsa"`,
	} {
		if _, err := ParsePublicText(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", line, err)
		}
	}
}
