package trial

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/formattest"
)

// TestFormatsSoFar reads a record of each version. The present one is written like its own.
func TestFormatsSoFar(t *testing.T) {
	runs := Entry{OnTrial, "boot of the kernel", 5 * time.Minute, false}
	stopped := runs
	stopped.Stopped = true
	confirmed, over := Entry{State: Confirmed}, Entry{State: OnTrial}
	for v, want := range map[int]Record{
		1: {"ssh": confirmed, "db": over, "web": runs, Stealth: stopped},
		2: {"tcp 192.0.2.1 22": confirmed, "tcp 5432": over, "udp 1000-1010": runs, Stealth: stopped},
	} {
		for _, file := range formattest.Files(t, v, ".json") {
			dir := t.TempDir()
			if err := os.WriteFile(PathIn(dir), file.Text, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Read(dir)
			if err != nil || !maps.Equal(r, want) {
				t.Errorf("version %d: %v, %v, want %v", v, r, err, want)
			}
			if err := r.Write(dir); err != nil {
				t.Fatal(err)
			}
			if text, _ := os.ReadFile(PathIn(dir)); v == version && string(text) != string(file.Text) {
				t.Errorf("version %d is written as %s", v, text)
			}
		}
	}
}

// TestLaterFormat: a record of a later version is refused with its version, those of this
// release, and what to do. Neither a stop nor another change replaces it.
func TestLaterFormat(t *testing.T) {
	dir := t.TempDir()
	text := fmt.Sprintf(`{"version":%d,"services":{"ssh":{"state":"trial","until":"tomorrow"}},"more":1}`, version+1)
	if err := os.WriteFile(PathIn(dir), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	unchanged := formattest.Unchanged(t, dir)
	r, read := Read(dir)
	updated := Update(dir, func(r Record, err error) (Record, error) { return r, err })
	for what, err := range map[string]error{"read": read, "stop": Stop(dir), "update": updated} {
		hinted, ok := errors.AsType[interface {
			error
			Hint() string
		}](err)
		want := fmt.Sprintf("%s: expected version 1 to %d, got %d, which requires a newer sallyportd", PathIn(dir), version, version+1)
		if !ok || !strings.HasSuffix(err.Error(), want) || !strings.Contains(hinted.Hint(), "everything that is hidden is closed") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(r) > 0 {
		t.Errorf("on trial: %v", r)
	}
	unchanged()
}

// TestDamagedFormats: no part of a record, and no wrong bit in it, puts a confirmed service on
// trial: an error means that nothing is. JSON has no checksum, so that the end of a trial, or
// the name of a port, may be another one.
func TestDamagedFormats(t *testing.T) {
	for v := 1; v <= version; v++ {
		for _, file := range formattest.Files(t, v, ".json") {
			good, err := parse(file.Text)
			if err != nil {
				t.Fatal(err)
			}
			file.EachDamage(1, func(text []byte) {
				r, err := parse(text)
				if err != nil && r != nil {
					t.Errorf("%q: %v beside %v", text, r, err)
				}
				for name, e := range r {
					if e.State == OnTrial && good[name].State == Confirmed {
						t.Errorf("%q: %s is on trial", text, name)
					}
				}
			})
		}
	}
}
