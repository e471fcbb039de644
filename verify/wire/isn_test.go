package wire

import (
	"slices"
	"testing"
)

func TestISNVectors(t *testing.T) {
	var file struct {
		Attempts []struct {
			ID, Comment, Key, Identifier string
			Base                         uint32
			ISN                          ISN
		}
	}
	readJSON(t, "testdata/isn.json", &file)
	seen := map[ISN]string{}
	for _, v := range file.Attempts {
		got := ISNOfAttempt([]byte(v.Key), Identifier([]byte(v.Identifier)), v.Base)
		if got != v.ISN {
			t.Errorf("%s: got %d, want %d", v.ID, got, v.ISN)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have the same number", v.ID, other)
		}
		seen[got] = v.ID
	}
	if len(seen) < 5 {
		t.Errorf("%d vectors", len(seen))
	}
}

// TestISNIsNeverZero: Linux chooses a number itself if the client sets 0.
func TestISNIsNeverZero(t *testing.T) {
	mac := make([]byte, MACSize)
	if n := ISNOf(mac); n != 1 {
		t.Errorf("of zeros: %d", n)
	}
	mac[MACSize-1] = 7
	if n := ISNOf(mac); n != 7 {
		t.Errorf("of zeros, and 7 at the end: %d", n)
	}
	mac[0] = 1
	if n := ISNOf(mac); n != 1<<24 {
		t.Errorf("of 1 at the beginning: %d", n)
	}
}

// TestISNMessageIsNoKnock: no knock signs the message, nor does it contain one.
func TestISNMessageIsNoKnock(t *testing.T) {
	m := ISNMessage(Identifier([]byte("com1")), 1)
	if len(m) == SignedSize || len(m) == Size {
		t.Errorf("a message has %d bytes", len(m))
	}
	if slices.Equal(m[:2], []byte(Magic)) {
		t.Errorf("a message begins with %q", m[:2])
	}
}
