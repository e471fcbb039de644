package exchange

import (
	"encoding/json"
	"os"
	"testing"

	"sallyport/verify/wire"
)

// TestISNVectors: both ends of each exchange derive the same initial sequence number.
func TestISNVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/isn.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Exchanges []struct {
			ID  string
			ISN wire.ISN
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	want := map[string]wire.ISN{}
	for _, v := range file.Exchanges {
		want[v.ID] = v.ISN
	}
	seen := map[wire.ISN]string{}
	for _, v := range vectors(t) {
		a, err := v.client(t).Answer(v.challenge)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRequest(v.operation, v.Self.Is6(), v.request)
		if err != nil {
			t.Fatal(err)
		}
		_, pending, err := r.Challenge(nil, v.Public, v.Server, v.nonceA, v.Port)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := pending.Verify(v.wantsResponse)
		if a.ISN != want[v.ID] || p.ISN() != want[v.ID] || a.ISN == 0 {
			t.Errorf("%s: the client has %d, the server %d, want %d", v.ID, a.ISN, p.ISN(), want[v.ID])
		}
		if other, ok := seen[a.ISN]; ok {
			t.Errorf("%s and %s have the same number", v.ID, other)
		}
		seen[a.ISN] = v.ID
		if p, ok := pending.Verify(flip(v.wantsResponse, 0)); ok || p.ISN() != 0 {
			t.Errorf("%s: a wrong response has the number %d", v.ID, p.ISN())
		}
	}
}
