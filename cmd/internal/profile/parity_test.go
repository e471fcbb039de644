package profile

import (
	"reflect"
	"strings"
	"testing"

	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// parseBoth is Parse, and checks that programs which have only package profilefile accept
// the same profiles.
func parseBoth(t *testing.T, text []byte) (client.Profile, error) {
	t.Helper()
	p, err := Parse("p.toml", text)
	q, other := profilefile.Parse(text)
	if (err == nil) != (other == nil) || err == nil && !reflect.DeepEqual(p, q) {
		t.Errorf("%q:\nthe commands: %+v, %v\nother programs: %+v, %v", text, p, err, q, other)
	}
	if other != nil && strings.Contains(other.Error(), "hunter2") {
		t.Errorf("a secret in %v", other)
	}
	return p, err
}
