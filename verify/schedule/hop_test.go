package schedule

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

func TestHopVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/hops.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Valid []struct {
			ID         string
			PortSecret string `json:"port_secret"`
			Minute     int64
			Bases      uint16
			Key, Mask  string
			Distance   uint16
		}
	}
	if err := json.Unmarshal(b, &file); err != nil || len(file.Valid) == 0 {
		t.Fatalf("%d rows, %v", len(file.Valid), err)
	}
	for _, v := range file.Valid {
		k := HopKeyOf(v.PortSecret)
		h := k.Hop(Minute(v.Minute), v.Bases)
		if hex.EncodeToString(k[:]) != v.Key || hex.EncodeToString(h.Mask[:]) != v.Mask || h.Distance != v.Distance {
			t.Errorf("%s: got key %x, mask %x, distance %d", v.ID, k, h.Mask, h.Distance)
		}
	}
}

// TestHopSpread: every distance occurs, and none is drawn much more often than others.
func TestHopSpread(t *testing.T) {
	const bases, minutes = 16, 16_000
	k := HopKeyOf("secret")
	var n [bases]int
	for m := range Minute(minutes) {
		n[k.Hop(m, bases).Distance]++
	}
	for d, got := range n { // 1000 expected, with a deviation of 31
		if got < 800 || got > 1200 {
			t.Errorf("distance %d was drawn %d times in %d", d, got, minutes)
		}
	}
}
