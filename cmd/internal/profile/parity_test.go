package profile

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// linesOfSecrets matches each line of a secret.
var linesOfSecrets = regexp.MustCompile(`(?m)^[ \t]*(port_secret|secret)[ \t]*=.*$`)

// parseBoth is Parse, and checks that programs which have only package profilefile accept
// the same profiles.
func parseBoth(t *testing.T, text []byte) (client.Profile, error) {
	t.Helper()
	p, err := Parse("p.toml", text)
	q, other := profilefile.Parse(text)
	if (err == nil) != (other == nil) || err == nil && !reflect.DeepEqual(p, q) {
		t.Errorf("%q:\nthe commands: %+v, %v\nother programs: %+v, %v", text, p, err, q, other)
	}
	// A fuzz target also moves this word to keys whose values errors may quote.
	elsewhere := strings.Contains(linesOfSecrets.ReplaceAllString(string(text), ""), "hunter2")
	if other != nil && !elsewhere && strings.Contains(other.Error(), "hunter2") {
		t.Errorf("a secret in %v", other)
	}
	return p, err
}
