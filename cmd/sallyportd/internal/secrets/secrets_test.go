package secrets

import (
	"strings"
	"testing"

	"sallyport/verify/wire"
)

func TestStrength(t *testing.T) {
	for secret, weak := range map[string]bool{
		"": true, "a": true, "portSecret": true, "com1_secret": true, "password123": true, "correct horse": true,
		"2026-11-22": true, strings.Repeat("a", 64): true, "abcdefghijklmnopqrstuvwxyz": true,
		strings.Repeat("ab", 14): true, strings.Repeat("0123456789abcdef", 4): true,
		"Tr0ub4dor&3": true, "correct horse battery staple": true, "drowssap-Password-p4ssw0rd-PASSWORD": true,
		"qwertzuiopasdfghjklyxcvbnm": true, "Christopher.Alexander.1987": true, "passwordpasswordpasswordpassword": true,
		strings.Repeat("\u00e4", 40): true, "MyCompanyServerGateway2026!": true, strings.Repeat("\u0130", 30): true,
		Random(): false, "kT9#vQ2$mW7!xR4@pL": false, "xkqzv bwjfh tnygc rpdlm": false,
		"gt4J9vKqzXw2RbNcY7": false, "8fK/0pQzv1Rw+3mYxT5cJA==": false, "ouhqzvtxkwjbnrfgypdm": false,
	} {
		w := Weakness(secret)
		if (w != "") != weak {
			t.Errorf("%q: %.0f bits: %s", secret, strength(secret), w)
		}
		if secret != "a" && secret != "" && strings.Contains(w, secret) {
			t.Errorf("the text contains the secret: %q", w)
		}
	}
	for seconds, want := range map[float64]string{
		0.5: "less than a second", 5: "less than an hour", 4000: "less than a day",
		86400 * 3: "about 3 days", 86400 * 365 * 7: "about 7 years",
	} {
		if got := duration(seconds); got != want {
			t.Errorf("%v s: %s", seconds, got)
		}
	}
}

func TestRandomIdentifiers(t *testing.T) {
	seen := map[wire.Identifier]bool{}
	for range 1000 {
		id := RandomIdentifier()
		if _, err := ParseIdentifier(id.String()); err != nil {
			t.Fatalf("%q: %v", id, err)
		}
		seen[id] = true
	}
	if len(seen) < 990 { // of 9 million
		t.Errorf("only %d of 1000 are different", len(seen))
	}
	for _, wrong := range []string{"", "abc", "abcde", "a bc", "#abc"} {
		if _, err := ParseIdentifier(wrong); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}
