package config

import (
	"testing"

	"sallyport/sessions/gate/access"
)

// FuzzListen: an entry of "listen" in its shortest form is the same entry, and has at
// least one port, or is the entry of a service whose port rotates.
func FuzzListen(f *testing.F) {
	for _, text := range []string{":22", "192.0.2.1:80-90", "[::]:1-65535", "[fe80::1%br-0]:60000-61000", ":080", ":1-", "8080", ":0", ":0-1", ":00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseListen(text)
		if err != nil {
			return
		}
		again, err := parseListen(l.String())
		rotates := l.ports == access.Ports{}
		if err != nil || again != l || !l.ports.IsValid() && !rotates {
			t.Errorf("%q is %+v, and %q is %+v: %v", text, l, l, again, err)
		}
		twice := (&Service{Listen: l.String() + listenSeparator + l.String()}).listens()
		if len(twice) != 2 || twice[1] != l {
			t.Errorf("a list of %q twice is %+v", l, twice)
		}
	})
}
