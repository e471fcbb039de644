package guides

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// versioned are the sources of the versions in the table of formats, and the kept files of
// each version, for Sprintf.
var versioned = map[string]struct{ source, constant, kept string }{
	"configuration":                {"cmd/sallyportd/internal/config/parse.go", `const version = (\d+)`, ""},
	"profile":                      {"sessions/client/profilefile/file.go", `const Version = (\d+)`, ""},
	"programs of a client":         {"cmd/internal/profile/programs.go", `programsVersion = (\d+)`, ""},
	"nonces of a client":           {"sessions/client/noncerecord.go", `nonceHeader +=\s*"sallyport-nonce (\d+)`, "sessions/client/testdata/formats/nonces-%d"},
	"nonces of a server":           {"sessions/state/format.go", `const version = (\d+)`, "sessions/state/testdata/form%d.db"},
	"export of nonces":             {"sessions/state/export.go", `const ExportVersion = (\d+)`, "sessions/state/testdata/formats/export-%d"},
	"recorded leases":              {"sessions/state/kept_format.go", `versionEnds += (\d+)`, "sessions/state/testdata/formats/open-leases-%d"},
	"closing commands":             {"sessions/state/kept_format.go", `versionAny += (\d+)`, "sessions/state/testdata/formats/closing-commands-%d"},
	"uses of operations":           {"sessions/state/uses_format.go", `const usesVersion = (\d+)`, "sessions/state/testdata/formats/operation-uses-%d"},
	"trials":                       {"cmd/sallyportd/internal/trial/record.go", `const version = (\d+)`, ""},
	"nonces of a fleet":            {"sessions/fleet/record.go", `\tversion += (\d+)`, ""},
	"grants of a fleet":            {"sessions/fleet/grants/value.go", `\tversion = (\d+)`, ""},
	"parts of attempts of a fleet": {"sessions/fleet/split/value.go", `\tversion = (\d+)`, ""},
	"clients file":                 {},
}

// TestFormats compares the table of formats with the code, and requires a kept file of each
// version of those that name one.
func TestFormats(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	guide, err := os.ReadFile(filepath.Join(root, "cmd/sallyportd/FORMATS.md"))
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(guide), "\n## ")
	seen := map[string]bool{}
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 5 || cells[0] == "| what" {
			continue
		}
		name := strings.TrimPrefix(cells[0], "| ")
		of, known := versioned[name]
		if !known {
			t.Errorf("%s: this test does not know the format", name)
		}
		seen[name] = true
		if of.source == "" {
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, of.source))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(of.constant).FindSubmatch(source)
		if found == nil {
			t.Fatalf("%s: %s has no %s", name, of.source, of.constant)
		}
		version := string(found[1])
		reads := "1"
		if version != "1" {
			reads = "1 to " + version
		}
		if cells[2] != version || cells[3] != reads {
			t.Errorf("%s: the table has version %s and reads %s; the code has version %s", name, cells[2], cells[3], version)
		}
		last, _ := strconv.Atoi(version)
		for v := 1; v <= last && of.kept != ""; v++ {
			if _, err := os.Stat(filepath.Join(root, fmt.Sprintf(of.kept, v))); err != nil {
				t.Errorf("%s: no file of version %d is kept: %v", name, v, err)
			}
		}
	}
	for name := range versioned {
		if !seen[name] {
			t.Errorf("the table lacks %s", name)
		}
	}
}
