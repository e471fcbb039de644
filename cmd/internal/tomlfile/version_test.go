package tomlfile

import (
	"errors"
	"testing"
)

// TestCheckVersion: only a later version is an error, whatever else the text has. All other
// texts are for Decode.
func TestCheckVersion(t *testing.T) {
	for text, line := range map[string]string{
		"version = 1": "", "": "", "version = 0": "", "version = -7": "", "version = \"3\"": "", "version = [3]": "", "version = 3\nports = ": "",
		"version = 3": ":1", "# one\nversion = 3": ":2", "ports = [[]]\n\nversion = 99 # more\n[more]\nversion = 1": ":3", "\ufeffversion = 3": ":1",
		"[service]\nversion = 3": "", "version = 9223372036854775807": ":1", "version = 9223372036854775808": "",
	} {
		err := CheckVersion("x.toml", []byte(text), 2, "sallyport", "do this")
		if line == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		hinted, ok := errors.AsType[interface {
			error
			Hint() string
		}](err)
		want := "x.toml" + line + ": version: expected 1 to 2, the version of this file format, got "
		if !ok || hinted.Hint() != "do this" || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
