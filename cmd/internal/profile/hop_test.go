package profile

import (
	"strings"
	"testing"

	"sallyport/sessions/client/profilefile"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// TestHop: a profile of an operation whose ports move has the number of bases and the
// key, which is a secret.
func TestHop(t *testing.T) {
	key := schedule.HopKeyOf("port secret")
	o := profilefile.Operation{
		Server: "gate.example", ID: "web-alice", Secret: "a secret", Algorithm: exchange.NATAware, Service: ":8080", Hop: 4096, HopKey: key,
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 10000, DataBits: 8},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
	}
	text, err := profilefile.FormatOperation(o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseBoth(t, text)
	if err != nil || p.Challenge.Hop != 4096 || p.Challenge.HopKey != key || p.HasSequence() {
		t.Errorf("%+v, %v, of\n%s", p, err, text)
	}
	digits := strings.Split(strings.SplitAfter(string(text), "hop_secret = '")[1], "'")[0]
	if len(digits) != 64 {
		t.Fatalf("hop_secret %q", digits)
	}
	f := profilefile.File{Challenge: &profilefile.FileChallenge{Secret: "x", HopSecret: digits}}.ReplaceSecrets("(hidden)")
	if f.Challenge.HopSecret != "(hidden)" {
		t.Errorf("the secret of the hops is shown: %q", f.Challenge.HopSecret)
	}
	for old, next := range map[string]string{
		"hop = 4096":   "hop = 1",
		"= 4096":       "= 32769",
		"hop = 4096\n": "",
		digits:         digits[2:],
		"'" + digits:   "'x" + digits[1:],
		"hop_secret":   "# hop_secret",
		"base = 25600": "base = 15000", // a request of some minute has its ports
	} {
		_, err := parseBoth(t, []byte(strings.Replace(string(text), old, next, 1)))
		if err == nil || !strings.Contains(err.Error(), "challenge") || strings.Contains(err.Error(), digits[2:]) {
			t.Errorf("%q in place of %q: %v", next, old, err)
		}
	}
}
