package relay

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// vectorFile is testdata/vectors.json, which another program has written.
type vectorFile struct {
	Datagrams []struct {
		ID, Comment, Key, From, To, Datagram, Result string

		Packets []struct {
			Source netip.AddrPort
			Port   uint16
			TCP    bool
			Age    int64 `json:"age_us"`
		}
	}
	Coordinators []struct {
		Key, Coordinator string
		Gateways         []string
		Source           netip.Addr
	}
}

func vectors(t testing.TB) (v vectorFile) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDatagramVectors: each datagram is accepted, or refused by the stage that it names, and
// those that are accepted are what this package writes.
func TestDatagramVectors(t *testing.T) {
	for _, v := range vectors(t).Datagrams {
		raw, err := hex.DecodeString(v.Datagram)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParseKey(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		result := "header"
		var packets []Packet
		if h, ok := parseHeader(raw); ok && h.sender == IDOf(v.From) {
			aead, err := key.datagrams(h.sender, IDOf(v.To), h.run)
			if err != nil {
				t.Fatal(err)
			}
			result = "not authentic"
			if plain, ok := h.open(nil, aead, raw); ok {
				result = "malformed"
				var y body
				if y, packets, err = parseBody(plain, nil); err == nil {
					result = "accepted"
					again := y.append(nil)
					for _, p := range packets {
						again = p.append(again)
					}
					if made := h.seal(nil, aead, again); !bytes.Equal(made, raw) {
						t.Errorf("%s: this package writes %x", v.ID, made)
					}
				}
			}
		}
		if result != v.Result {
			t.Errorf("%s (%s): %s, want %s", v.ID, v.Comment, result, v.Result)
		}
		var want []Packet
		for _, p := range v.Packets {
			want = append(want, Packet{p.Source, p.Port, p.TCP, time.Duration(p.Age) * time.Microsecond})
		}
		if result == "accepted" && !slices.Equal(packets, want) {
			t.Errorf("%s: packets %v, want %v", v.ID, packets, want)
		}
	}
}

func TestCoordinatorVectors(t *testing.T) {
	for _, v := range vectors(t).Coordinators {
		key, err := ParseKey(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		block, err := key.coordinators()
		if err != nil {
			t.Fatal(err)
		}
		var ids []ID
		for _, name := range v.Gateways {
			ids = append(ids, IDOf(name))
		}
		if got := v.Gateways[newChooser(block, ids).of(v.Source, set(1<<len(ids)-1))]; got != v.Coordinator {
			t.Errorf("%s of %v: %s, want %s", v.Source, v.Gateways, got, v.Coordinator)
		}
	}
}

// FuzzBody: a body that parses is written as the same bytes, and its packets are valid.
func FuzzBody(f *testing.F) {
	for _, v := range vectors(f).Datagrams {
		raw, err := hex.DecodeString(v.Datagram)
		if err != nil {
			f.Fatal(err)
		}
		if h, ok := parseHeader(raw); ok {
			aead, err := (Key{v.Key}).datagrams(IDOf(v.From), IDOf(v.To), h.run)
			if err != nil {
				f.Fatal(err)
			}
			plain, _ := h.open(nil, aead, raw)
			f.Add(plain)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		y, packets, err := parseBody(b, nil)
		if err != nil {
			return
		}
		again := y.append(nil)
		for _, p := range packets {
			if !relayable(p.Source.Addr()) || p.Source.Port() == 0 || p.Port == 0 {
				t.Errorf("packet %v", p)
			}
			again = p.append(again)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x is written as %x", b, again)
		}
	})
}

// FuzzDatagram: a datagram of any bytes changes nothing, and gets no answer.
func FuzzDatagram(f *testing.F) {
	for _, v := range vectors(f).Datagrams {
		if raw, err := hex.DecodeString(v.Datagram); err == nil {
			f.Add(raw)
		}
	}
	w := newWorld(f, 2)
	n := w.node("gw1")
	f.Fuzz(func(t *testing.T, b []byte) {
		if packets := n.receive(w.gateways["gw2"], b, w.now); len(packets) > 0 || len(n.outgoing) > 0 {
			t.Errorf("%x: %v, %d answers", b, packets, len(n.outgoing))
		}
	})
}
