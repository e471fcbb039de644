package client

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFormatsSoFar reads a nonce file of each version, which a client with that version
// wrote. A later version is an error that names the remedy.
func TestFormatsSoFar(t *testing.T) {
	var latest int
	fmt.Sscanf(nonceHeader, "sallyport-nonce %d", &latest)
	for v := 1; v <= latest; v++ {
		text, err := os.ReadFile(fmt.Sprintf("testdata/formats/nonces-%d", v))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), fmt.Sprintf("sallyport-nonce %d\n", v)) {
			t.Errorf("the file of version %d begins with %.20q", v, text)
		}
		r, err := parseNonce(string(text))
		next := map[int]uint64{1: 800606295, 2: 800606295, 3: 800606292}[v]
		if err != nil || r.next != next || r.used.free(0, 1) != next {
			t.Errorf("version %d: %+v, %v, want the next nonce %d, and all before it used", v, r, err, next)
		}
	}
	_, err := parseNonce(fmt.Sprintf("sallyport-nonce %d\nnext 1\n", latest+1))
	if damaged := (&DamagedError{"x", err}); err == nil || !strings.Contains(damaged.Hint(), "update sallyport") {
		t.Errorf("a later version: %v, hint %q", err, damaged.Hint())
	}
}
