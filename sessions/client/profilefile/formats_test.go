package profilefile

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"sallyport/sessions/client"
	"sallyport/sessions/formattest"
)

// TestFormatsSoFar reads the kept profiles of each version. Each key that it had then has
// the same meaning now.
func TestFormatsSoFar(t *testing.T) {
	for v := 1; v <= Version; v++ {
		for _, file := range formattest.Files(t, v, ".toml") {
			p, err := Parse(file.Text)
			if err != nil {
				t.Errorf("%s: %v", file.Path, err)
				continue
			}
			file.Check(t, meaning(t, file.Text, p))
		}
	}
}

// meaning returns the keys that a text has, as they were read, and the Profile that they make.
func meaning(t *testing.T, text []byte, p client.Profile) (lines []string) {
	t.Helper()
	raw := New()
	if err := toml.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	lines = append(formattest.Describe("File", raw), formattest.Describe("Profile", p)...)
	if p.Challenge != nil {
		o := p.Challenge.Operation
		lines = append(lines, fmt.Sprintf("the operation is %s, algorithm %v, random port %v, signed %v", o.ID(), o.Algorithm(), o.RandomPort(), o.Signed()))
	}
	return lines
}

// TestFormatsHaveAllKeys: each key of the present version is in a kept file, with another
// value than that of a file without it. A new key must be added there.
func TestFormatsHaveAllKeys(t *testing.T) {
	set := map[string]bool{"version": true} // it has one value only
	for _, file := range formattest.Files(t, Version, ".toml") {
		raw, keys := New(), map[string]any{}
		if err := errors.Join(toml.Unmarshal(file.Text, &raw), toml.Unmarshal(file.Text, &keys)); err != nil {
			t.Fatal(err)
		}
		mark(reflect.ValueOf(raw), reflect.ValueOf(New()), keys, "", set)
	}
	for _, name := range names(reflect.TypeFor[File](), "") {
		if !set[name] {
			t.Errorf("%s: no file in testdata/formats/%d sets it to another value than its default", name, Version)
		}
	}
}

// mark marks the keys of a table that have another value than by default.
func mark(table, byDefault reflect.Value, keys map[string]any, at string, set map[string]bool) {
	for name, value := range keys {
		field, _ := fieldOf(table.Type(), name)
		v, d := table.FieldByIndex(field.Index), byDefault.FieldByIndex(field.Index)
		inner := tableOf(field.Type)
		if inner.Kind() != reflect.Struct {
			set[at+name] = set[at+name] || !reflect.DeepEqual(v.Interface(), d.Interface())
			continue
		}
		all := []reflect.Value{v}
		switch v.Kind() {
		case reflect.Pointer:
			all[0] = v.Elem()
		case reflect.Slice:
			all = nil
			for i := range v.Len() {
				all = append(all, v.Index(i))
			}
		}
		for i, table := range tables(value) {
			mark(all[i], reflect.Zero(inner), table, at+name+".", set)
		}
	}
}

func names(table reflect.Type, at string) (all []string) {
	for i := range table.NumField() {
		field := table.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		if inner := tableOf(field.Type); inner.Kind() == reflect.Struct {
			all = append(all, names(inner, at+name+".")...)
		} else {
			all = append(all, at+name)
		}
	}
	return all
}

// TestLaterFormat: a profile of a later version is refused with its version, this one, and
// what to do, also if it has keys that this release does not know.
func TestLaterFormat(t *testing.T) {
	for _, file := range formattest.Files(t, Version, ".toml") {
		later := strings.Replace(string(file.Text), fmt.Sprintf("version = %d", Version), fmt.Sprintf("version = %d", Version+1), 1)
		for _, text := range []string{later, "new = 1\n" + later, later + "[new]\nkey = 1\n", "\ufeff" + later} {
			_, err := Parse([]byte(text))
			want := fmt.Sprintf("version: expected %d, the version of this file format, got %d, which requires a newer sallyport", Version, Version+1)
			hinted, ok := errors.AsType[interface {
				error
				Hint() string
			}](err)
			if !ok || err.Error() != want || hinted.Hint() != NewerHint {
				t.Errorf("%s: %v", file.Path, err)
			}
		}
	}
}

// TestDamagedFormats: no part of a profile, and no wrong bit in it, is a panic. A text has no
// checksum, so it may be another valid profile.
func TestDamagedFormats(t *testing.T) {
	for v := 1; v <= Version; v++ {
		for _, file := range formattest.Files(t, v, ".toml") {
			file.EachDamage(1, func(text []byte) { Parse(text) })
		}
	}
}
