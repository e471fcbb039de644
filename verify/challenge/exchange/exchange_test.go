package exchange

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"testing"

	"pgregory.net/rapid"
)

type vector struct {
	ID, Comment, Operation, Secret    string
	Algorithm                         Algorithm
	Self, Public, Server              netip.Addr
	NonceA                            string `json:"nonce_a"`
	NonceB                            string `json:"nonce_b"`
	Port                              uint16
	Request, Challenge, Response      string
	nonceA, nonceB                    [NonceSize]byte
	operation                         *Operation
	request, challenge, wantsResponse []byte
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		About     string
		Exchanges []vector
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for i := range file.Exchanges {
		v := &file.Exchanges[i]
		v.request, v.challenge, v.wantsResponse = unhex(v.Request), unhex(v.Challenge), unhex(v.Response)
		copy(v.nonceA[:], unhex(v.NonceA))
		copy(v.nonceB[:], unhex(v.NonceB))
		if v.operation, err = NewOperation(v.Operation, v.Secret, v.Algorithm, v.Port != 0); err != nil {
			t.Fatal(err)
		}
	}
	return file.Exchanges
}

func (v vector) client(t testing.TB) *Initiator {
	t.Helper()
	c, err := NewInitiator(v.operation, v.Self, v.Server, v.nonceB)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVectors(t *testing.T) {
	algorithms := map[Algorithm]int{}
	for _, v := range vectors(t) {
		algorithms[v.Algorithm]++
		t.Run(v.ID, func(t *testing.T) {
			c := v.client(t)
			if got := c.Request(); !bytes.Equal(got, v.request) {
				t.Errorf("request %x, want %x", got, v.request)
			}
			r, err := ParseRequest(v.operation, v.Self.Is6(), v.request)
			if err != nil {
				t.Fatal(err)
			}
			challenge, pending, err := r.Challenge(nil, v.Public, v.Server, v.nonceA, v.Port)
			if err != nil || !bytes.Equal(challenge, v.challenge) {
				t.Errorf("challenge %x, %v, want %x", challenge, err, v.challenge)
			}
			a, err := c.Answer(v.challenge)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.Response, v.wantsResponse) || a.Public != v.Public || a.Port != v.Port {
				t.Errorf("answer %x, %s, %d", a.Response, a.Public, a.Port)
			}
			p, ok := pending.Verify(v.wantsResponse)
			if !ok || p.Client() != v.Public || p.Operation() != v.operation || p.Port() != v.Port {
				t.Errorf("proof %+v, %v", p, ok)
			}
		})
	}
	for a := Unilateral; a <= Mutual; a++ {
		if algorithms[a] < 2 {
			t.Errorf("%d vectors of algorithm %d", algorithms[a], a)
		}
	}
}

// TestPaperSizes are those of section 6.3.1: 10 bytes of ID, over IPv4.
func TestPaperSizes(t *testing.T) {
	o, err := NewOperation("0123456789", "secret", NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	if r, c := 8*o.RequestSize(false), 8*o.ChallengeSize(false); r != 112 || c != 352 || 8*ResponseSize != 160 {
		t.Errorf("%d, %d and %d bits", r, c, 8*ResponseSize)
	}
}

// TestNothingElseIsAccepted flips each bit of each message.
func TestNothingElseIsAccepted(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			r, err := ParseRequest(v.operation, v.Self.Is6(), v.request)
			if err != nil {
				t.Fatal(err)
			}
			_, pending, err := r.Challenge(nil, v.Public, v.Server, v.nonceA, v.Port)
			if err != nil {
				t.Fatal(err)
			}
			for bit := range 8 * len(v.wantsResponse) {
				if _, ok := pending.Verify(flip(v.wantsResponse, bit)); ok {
					t.Errorf("response with bit %d flipped", bit)
				}
			}
			for _, n := range []int{0, 1, MACSize - 1} {
				if _, ok := pending.Verify(v.wantsResponse[:n]); ok {
					t.Errorf("response of %d bytes", n)
				}
			}
			c := v.client(t)
			nonce := len(v.challenge) - NonceSize
			if v.Port != 0 {
				nonce -= portSize
			}
			for bit := range 8 * len(v.challenge) {
				a, err := c.Answer(flip(v.challenge, bit))
				// The paper's MAC does not cover the nonce; but a response to
				// another nonce is refused.
				if inNonce := bit/8 >= nonce && bit/8 < nonce+NonceSize; inNonce && v.Port == 0 {
					if _, ok := pending.Verify(a.Response); err != nil || ok {
						t.Errorf("challenge with bit %d flipped: %v", bit, err)
					}
				} else if !errors.Is(err, ErrNotAuthentic) || a.Response != nil {
					t.Errorf("challenge with bit %d flipped: %x, %v", bit, a.Response, err)
				}
			}
			for n := range len(v.challenge) {
				if _, err := c.Answer(v.challenge[:n]); !errors.Is(err, ErrNotAuthentic) {
					t.Errorf("challenge of %d bytes: %v", n, err)
				}
			}
		})
	}
}

func flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

func TestRefusals(t *testing.T) {
	for what, o := range map[string]func() (*Operation, error){
		"a short ID":     func() (*Operation, error) { return NewOperation("1234", "s", NATAware, false) },
		"a long ID":      func() (*Operation, error) { return NewOperation("12345678901234567", "s", NATAware, false) },
		"no secret":      func() (*Operation, error) { return NewOperation("12345", "", NATAware, false) },
		"algorithm zero": func() (*Operation, error) { return NewOperation("12345", "s", 0, false) },
		"algorithm four": func() (*Operation, error) { return NewOperation("12345", "s", 4, false) },
	} {
		if _, err := o(); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	o, err := NewOperation("12345", "s", NATAware, true)
	if err != nil {
		t.Fatal(err)
	}
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, pair := range [][2]netip.Addr{{v4, v6}, {v6, v4}, {{}, v4}, {v4, {}}} {
		if _, err := NewInitiator(o, pair[0], pair[1], [NonceSize]byte{}); err == nil {
			t.Errorf("from %s to %s is accepted", pair[0], pair[1])
		}
	}
	r, err := ParseRequest(o, false, []byte("12345\x0a\x00\x00\x01"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Challenge(nil, v4, v4, [NonceSize]byte{}, 0); err == nil {
		t.Error("a challenge without its port is made")
	}
	if _, ok := (Pending{}).Verify(make([]byte, MACSize)); ok {
		t.Error("a zero Pending verifies a response")
	}
}

// TestEachExchangeIsItsOwn: a response is valid for another exchange only if all
// values that the response depends on are the same.
func TestEachExchangeIsItsOwn(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "last byte")})
	})
	type terms struct {
		id, secret           string
		algorithm            Algorithm
		random               bool
		self, public, server netip.Addr
		nonceA, nonceB       byte
	}
	draw := func(t *rapid.T) (v terms) {
		v.id = rapid.StringMatching(`[ab]{5,6}`).Draw(t, "ID")
		v.secret = rapid.StringMatching(`[ab]{1,2}`).Draw(t, "secret")
		v.algorithm = Algorithm(rapid.IntRange(1, 3).Draw(t, "algorithm"))
		v.random = rapid.Bool().Draw(t, "random port")
		v.self, v.public, v.server = address.Draw(t, "ID_A"), address.Draw(t, "PID_A"), address.Draw(t, "PID_B")
		if v.algorithm == Unilateral {
			v.public = v.self
		}
		v.nonceA, v.nonceB = rapid.ByteRange(0, 1).Draw(t, "N_A"), rapid.ByteRange(0, 1).Draw(t, "N_B")
		return v
	}
	run := func(t *rapid.T, v terms) ([]byte, Pending, *Initiator) {
		o, err := NewOperation(v.id, v.secret, v.algorithm, v.random)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewInitiator(o, v.self, v.server, [NonceSize]byte{v.nonceB})
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRequest(o, false, c.Request())
		if err != nil {
			t.Fatal(err)
		}
		challenge, p, err := r.Challenge(nil, v.public, v.server, [NonceSize]byte{v.nonceA}, 2000)
		if err != nil {
			t.Fatal(err)
		}
		return challenge, p, c
	}
	rapid.Check(t, func(t *rapid.T) {
		one, two := draw(t), draw(t)
		challenge, pending, client := run(t, one)
		a, err := client.Answer(challenge)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := pending.Verify(a.Response); !ok {
			t.Fatal("an honest response is refused")
		}
		_, other, stranger := run(t, two)
		same := one.id == two.id && one.secret == two.secret && one.algorithm == two.algorithm &&
			one.nonceA == two.nonceA && one.public == two.public && one.server == two.server
		if _, ok := other.Verify(a.Response); ok != same {
			t.Errorf("%+v is good for %+v: %v", one, two, ok)
		}
		// A server without the client's secret gets no response.
		got, err := stranger.Answer(challenge)
		authenticated := two.algorithm != Unilateral || two.random
		if one.secret != two.secret && authenticated && err == nil {
			t.Errorf("a challenge by another secret is answered: %x", got.Response)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	all := vectors(f)
	for i, v := range all {
		f.Add(i, v.challenge)
	}
	f.Fuzz(func(t *testing.T, i int, challenge []byte) {
		v := all[uint(i)%uint(len(all))]
		a, err := v.client(t).Answer(challenge)
		if (err == nil) == (a.Response == nil) {
			t.Fatalf("%+v and %v", a, err)
		}
		if err == nil && v.Algorithm != Unilateral && a.Public != v.Public {
			t.Errorf("the public address is %s by a forged challenge", a.Public)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	all := vectors(f)
	for i, v := range all {
		f.Add(i, v.Self.Is6(), v.request)
	}
	f.Fuzz(func(t *testing.T, i int, v6 bool, b []byte) {
		o := all[uint(i)%uint(len(all))].operation
		r, err := ParseRequest(o, v6, b)
		if err != nil {
			return
		}
		// A client sends the same bytes as those of an accepted request.
		self := r.client
		if !self.IsValid() {
			self = netip.IPv4Unspecified()
		}
		server := netip.IPv4Unspecified()
		if self.Is6() {
			server = netip.IPv6Unspecified()
		}
		c, err := NewInitiator(o, self, server, r.nonce)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Request(); !bytes.Equal(got, b) {
			t.Errorf("%x was accepted for %x", b, got)
		}
	})
}

// TestMAC compares with the standard library's HMAC.
func TestMAC(t *testing.T) {
	key, nonce := bytes.Repeat([]byte{0xa5}, 32), bytes.Repeat([]byte{7}, NonceSize)
	four, six := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::1")
	for _, row := range []struct {
		nonce     []byte
		addresses []netip.Addr
	}{{nil, []netip.Addr{four, six}}, {nonce, []netip.Addr{six, four}}, {nonce, nil}} {
		h := hmac.New(sha256.New, key)
		h.Write(row.nonce)
		for _, a := range row.addresses {
			b := a.As16()
			h.Write(b[:])
		}
		if got := mac(key, row.nonce, row.addresses...); !bytes.Equal(got[:], h.Sum(nil)[:MACSize]) {
			t.Errorf("%v: %x", row, got)
		}
	}
}
