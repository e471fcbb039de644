package verifytest_test

import (
	"bytes"
	"errors"
	"testing"

	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

func TestKnocksAreAuthentic(t *testing.T) {
	const minute = schedule.Minute(29_000_000)
	s := verifytest.New(t, 3, "com1", "com2")
	for sequence := range 3 {
		k := s.Knock(t, "com2", minute, 7, sequence)
		if k.Base() != 7 || k.Minute() != minute || k.Identifier() != verifytest.ID("com2") {
			t.Errorf("%+v", k)
		}
	}
}

// TestForgedIsAsItStands: the bytes of a valid knock are those of the codec,
// and an invalid one reaches the parser.
func TestForgedIsAsItStands(t *testing.T) {
	k := wire.Knock{Sequence: 1, Maximum: 2, Identifier: verifytest.ID("com1"), Timestamp: 60, Nonce: 8}
	signed := k.Sign(verifytest.Secret(k.Identifier))
	if !bytes.Equal(verifytest.Forge(signed), verifytest.Sign(t, k)) {
		t.Error("a valid knock has other bytes")
	}
	k.Sequence = 3
	if _, err := wire.Parse(verifytest.Forge(k)); !errors.Is(err, wire.RuleSequence) {
		t.Errorf("%v", err)
	}
}
