package presence

import (
	"errors"
	"strings"
	"testing"

	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/formattest"
)

// TestFormatsSoFar: the kept values of each version are read, and mean the same.
func TestFormatsSoFar(t *testing.T) {
	t.Parallel()
	for v := 1; v <= version; v++ {
		for _, file := range formattest.Files(t, v, ".txt") {
			got, err := Parse(file.Text)
			if err != nil || string(got.Append(nil)) != string(example.Append(nil)) {
				t.Errorf("%s: %+v, %v", file.Path, got, err)
			}
		}
	}
}

// TestLaterValue: a value of a later version is refused with its version, that of this
// release, and what to do. The gateway is known by its name, and nothing is compared.
func TestLaterValue(t *testing.T) {
	t.Parallel()
	text := strings.Replace(string(example.Append(nil)), "gateway 1", "gateway 2", 1)
	for _, later := range []string{text, text + "other 7\n", "sallyport gateway 2", "sallyport gateway 65535\n"} {
		_, err := Parse([]byte(later))
		if newer, ok := errors.AsType[*cluster.VersionError](err); !ok || newer.Found < 2 || newer.Latest != version {
			t.Errorf("%q: %v", later, err)
		}
	}
	for _, other := range []string{"gateway 2\n", "sallyport gateway 0\n", "sallyport gateway two\n", "sallyport gateway 99999\n"} {
		if _, err := Parse([]byte(other)); !errors.Is(err, errVersion) {
			t.Errorf("%q: %v", other, err)
		}
	}
	_, err := Parse([]byte(text))
	list := Compare(example, Seen{Name: "b", Err: err})
	if len(list) != 1 || list[0].What != "value" || !strings.Contains(list[0].There, "version 2, this release reads version 1") {
		t.Errorf("differences %+v", list)
	}
}

// TestDamagedValues: no part of a value is a value, and one with a wrong bit is refused or is
// another value in its one form.
func TestDamagedValues(t *testing.T) {
	t.Parallel()
	formattest.File{Text: example.Append(nil)}.EachDamage(1, func(text []byte) {
		if got, err := Parse(text); err == nil && string(got.Append(nil)) != string(text) {
			t.Errorf("%q is read as %+v", text, got)
		}
	})
}
