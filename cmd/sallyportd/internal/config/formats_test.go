package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sallyport/sessions/formattest"
	"sallyport/sessions/gate/firewall"
)

// TestFormatsSoFar reads the kept files of each version. Each key that it had then has the
// same meaning now.
func TestFormatsSoFar(t *testing.T) {
	for v := 1; v <= version; v++ {
		for _, f := range formattest.Files(t, v, ".toml") {
			r, c, err := parse("/etc/sallyport/sallyportd.toml", f.Text)
			if err != nil {
				t.Errorf("%s: %v", f.Path, err)
				continue
			}
			f.Check(t, meaning(r, c))
		}
	}
}

// fixedKeys can have one value only.
var fixedKeys = map[string]bool{"version": true}

// TestFormatsHaveAllKeys: each key of the present version is in a kept file, with another
// value than its default, and so is its meaning. A new key must be added there.
func TestFormatsHaveAllKeys(t *testing.T) {
	set := map[string]bool{}
	for _, file := range formattest.Files(t, version, ".toml") {
		r, c, err := parse("c.toml", file.Text)
		if err != nil {
			t.Fatal(err)
		}
		kept := "\n" + file.Meaning(t)
		eachKey(r, func(d declaration, kind string) {
			if c.file.Has(d.path) && !isDefault(d, kind) && strings.Contains(kept, "\n"+d.path+" = ") {
				set[withoutNumbers(d.path)] = true
			}
		})
	}
	all := &raw{Service: make([]rawService, 1), Operation: make([]rawOperation, 1)}
	all.Challenge.HTTP = make([]rawHTTP, 1)
	eachKey(all, func(d declaration, _ string) {
		if name := withoutNumbers(d.path); !set[name] && !fixedKeys[name] {
			t.Errorf("%s: no file in testdata/formats/%d sets it to another value than its default", name, version)
		}
	})
}

func eachKey(r *raw, f func(d declaration, kind string)) {
	for _, b := range r.tables() {
		walkKeys(reflect.ValueOf(b.fields).Elem(), b.at, b.class, "", func(d declaration) error {
			f(d, b.kind)
			return nil
		})
	}
}

func isDefault(d declaration, kind string) bool {
	byDefault := d
	byDefault.value = reflect.New(d.value.Type()).Elem()
	byDefault.set(d.defaultText(kind))
	return byDefault.text() == d.text()
}

var numbers = regexp.MustCompile(`\.\d+\.`)

func withoutNumbers(path string) string { return numbers.ReplaceAllString(path, ".") }

// meaning returns the keys that a file sets, as they were read, and the Config that they
// make.
func meaning(r *raw, c *Config) (lines []string) {
	eachKey(r, func(d declaration, _ string) {
		if c.file.Has(d.path) {
			lines = append(lines, fmt.Sprintf("%s = %s", d.path, d.text()))
		}
	})
	lines = append(lines, formattest.Describe("Config", *c)...)
	for i := range c.Services {
		s := &c.Services[i]
		at := fmt.Sprintf("Config.Services[%d]", i)
		lines = append(lines, formattest.Describe(at+".trusted", s.kind.trusted())...)
		is := s.kind
		if g, ok := is.(guarded); ok {
			g.allow = firewall.Trusted{} // these are in the lines of trusted
			is = g
		}
		lines = append(lines, fmt.Sprintf("%s is %T%+v", at, is, is))
		if s.rotation != nil {
			lines = append(lines, formattest.Describe(at+".drawn", s.rotation.drawn)...)
		}
		for _, p := range s.programs {
			lines = append(lines, fmt.Sprintf("%s runs %+v", at, p))
		}
	}
	return lines
}

// TestLaterFormat: a file of a later version is refused with its version, this one, and what
// to do, also if it has keys, tables and values that this release does not know.
func TestLaterFormat(t *testing.T) {
	for _, file := range formattest.Files(t, version, ".toml") {
		later := strings.Replace(string(file.Text), fmt.Sprintf("version = %d", version), fmt.Sprintf("version = %d", version+1), 1)
		for _, text := range []string{later, "new = 1\n" + later, later + "new = [1]\n[new]\nkey = 1\n", strings.Replace(later, "ports = ", "ports = [7] # ", 1)} {
			c, err := Parse("c.toml", []byte(text))
			want := fmt.Sprintf(": version: expected %d, the version of this file format, got %d, which requires a newer sallyportd", version, version+1)
			hinted, ok := errors.AsType[interface {
				error
				Hint() string
			}](err)
			if c != nil || !ok || !strings.HasPrefix(err.Error(), "c.toml:") || !strings.HasSuffix(err.Error(), want) || hinted.Hint() != newerHint {
				t.Errorf("%s: %v", file.Path, err)
			}
		}
	}
}

// TestDamagedFormats: no part of a file, and no wrong bit in it, is a panic. A text has no
// checksum, so it may be another valid configuration.
func TestDamagedFormats(t *testing.T) {
	t.Parallel()
	for v := 1; v <= version; v++ {
		for _, file := range formattest.Files(t, v, ".toml") {
			file.EachDamage(5, func(text []byte) {
				if c, err := Parse("c.toml", text); (c == nil) == (err == nil) {
					t.Errorf("%q: %v, %v", text, c, err)
				}
			})
		}
	}
}
