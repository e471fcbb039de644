package profile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sallyport/sessions/client/profilefile"
	"sallyport/sessions/formattest"
)

// TestFormatsSoFar reads the kept files of programs of each version. Each key that it had
// then has the same meaning now.
func TestFormatsSoFar(t *testing.T) {
	set := map[string]bool{"Version": true}
	for v := 1; v <= programsVersion; v++ {
		for _, file := range formattest.Files(t, v, ".local") {
			p, err := parsePrograms("p.local", file.Text)
			if err != nil {
				t.Errorf("%s: %v", file.Path, err)
				continue
			}
			lines := formattest.Describe("Programs", p)
			file.Check(t, append(lines, fmt.Sprintf("a program may take %s, and has %+v", p.timeout(), p.held())))
			for _, line := range lines {
				key, _, _ := strings.Cut(strings.TrimPrefix(line, "Programs."), " ")
				key, _, _ = strings.Cut(key, "[")
				set[key] = true
			}
		}
	}
	// A new key must be added to a kept file.
	for _, key := range append(fields[ChallengePrograms]("Challenge."), fields[Programs]("")...) {
		if !set[key] && key != "Challenge" {
			t.Errorf("no file in testdata/formats has %s", key)
		}
	}
}

func fields[T any](at string) (all []string) {
	for i := range reflect.TypeFor[T]().NumField() {
		all = append(all, at+reflect.TypeFor[T]().Field(i).Name)
	}
	return all
}

// TestLaterFormat: a profile, and a file of programs, of a later version are refused with
// their version, this one, and what to do. Nothing runs, and no file changes.
func TestLaterFormat(t *testing.T) {
	const newer = " = 7\n[other]\nkey = 1\n"
	for name, row := range map[string]struct{ profile, programs, want, hint string }{
		"a profile": {
			strings.Replace("version = 2\n"+good, "ports = 3", "ports = \"three\"", 1) + "new" + newer, "version = 1\nmac_command = [\"/bin/true\"]\n",
			"work.toml:1: version: expected 1, the version of this file format, got 2, which requires a newer sallyport", profilefile.NewerHint,
		},
		"programs": {
			good, "new = 7\nversion = 2\nmac_command = \"/bin/true\"\n",
			"work.local:2: version: expected 1, the version of this file format, got 2, which requires a newer sallyport", newerPrograms,
		},
	} {
		path := stored(t, good)
		err := errors.Join(os.WriteFile(path, []byte(row.profile), 0o600), os.WriteFile(programsPath(path), []byte(row.programs), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		unchanged := formattest.Unchanged(t, filepath.Dir(path))
		reader := Reader{}
		_, loaded := Load("work")
		_, _, stored := reader.LoadStored(t.Context(), "work")
		_, locked := reader.SetLocked(t.Context(), "work", true)
		for what, err := range map[string]error{"load": loaded, "load stored": stored, "lock": locked} {
			hinted, ok := errors.AsType[interface {
				error
				Hint() string
			}](err)
			if !ok || !strings.HasSuffix(err.Error(), row.want) || hinted.Hint() != row.hint {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		unchanged()
	}
}

// TestDamagedFormats: no part of a file of programs, and no wrong bit in it, is a panic, or
// names a program by another way than its absolute path.
func TestDamagedFormats(t *testing.T) {
	for v := 1; v <= programsVersion; v++ {
		for _, file := range formattest.Files(t, v, ".local") {
			file.EachDamage(1, func(text []byte) {
				p, err := parsePrograms("p.local", text)
				if err != nil && !reflect.DeepEqual(p, Programs{}) {
					t.Errorf("%q: %+v beside %v", text, p, err)
				}
				for _, argv := range [][]string{p.SecretCommand, p.MACCommand} {
					if len(argv) > 0 && !filepath.IsAbs(argv[0]) {
						t.Errorf("%q: %q", text, argv)
					}
				}
			})
		}
	}
}
