package wire

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestClosingVectors: both ways, and no MAC of one kind is one of the other.
func TestClosingVectors(t *testing.T) {
	var file struct{ Knocks []vector }
	readJSON(t, "testdata/closing.json", &file)
	valid := 0
	for _, v := range file.Knocks {
		k, err := Parse(unhex(t, v.Datagram))
		if err != nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		result := "mac"
		if k.SignClosing([]byte(v.Key)).MAC == k.MAC {
			result = "valid"
		}
		if result != v.Result {
			t.Errorf("%s (%s): got %s, want %s", v.ID, v.Comment, result, v.Result)
		}
		if result != "valid" {
			continue
		}
		valid++
		if k.Sign([]byte(v.Key)).MAC == k.MAC {
			t.Errorf("%s opens", v.ID)
		}
		b, err := v.knock().SignClosing([]byte(v.Key)).AppendBinary(nil)
		if err != nil || !bytes.Equal(b, unhex(t, v.Datagram)) {
			t.Errorf("%s: encoded as %x, %v", v.ID, b, err)
		}
	}
	for _, v := range vectors(t) { // of knocks that open
		if k, err := Parse(unhex(t, v.Datagram)); err == nil && k.SignClosing([]byte(v.Key)).MAC == k.MAC {
			t.Errorf("%s closes", v.ID)
		}
	}
	if valid < 5 || len(file.Knocks) < valid+5 {
		t.Errorf("%d valid vectors of %d", valid, len(file.Knocks))
	}
}

// TestClosingMessageIsNoOther: a closing knock signs no message that another purpose of
// the secret has.
func TestClosingMessageIsNoOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		signed := [SignedSize]byte(rapid.SliceOfN(rapid.Byte(), SignedSize, SignedSize).Draw(t, "signed part"))
		m := ClosingMessage(signed)
		isn := ISNMessage(Identifier(signed[4:8]), 7)
		if len(m) == SignedSize || len(m) == Size || len(m) == len(isn) || bytes.HasPrefix(isn[:], m[:len(closingLabel)]) {
			t.Fatalf("the message %q", m)
		}
		if !bytes.Equal(m[len(m)-SignedSize:], signed[:]) {
			t.Fatalf("the message %q lacks %q", m, signed)
		}
	})
}
