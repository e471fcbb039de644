package guides

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// versioned are the sources of the versions in the table of formats, and the kept files of
// each version, with VERSION in the name. The vectors of values in etcd are kept values: a
// test of each package requires one of each version.
var versioned = map[string]struct{ source, constant, kept string }{
	"configuration":                {"cmd/sallyportd/internal/config/parse.go", `const version = (\d+)`, "cmd/sallyportd/internal/config/testdata/formats/VERSION"},
	"profile":                      {"sessions/client/profilefile/file.go", `const Version = (\d+)`, "sessions/client/profilefile/testdata/formats/VERSION"},
	"programs of a client":         {"cmd/internal/profile/programs.go", `programsVersion = (\d+)`, "cmd/internal/profile/testdata/formats/VERSION"},
	"nonces of a client":           {"sessions/client/noncerecord.go", `nonceHeader +=\s*"sallyport-nonce (\d+)`, "sessions/client/testdata/formats/nonces-VERSION"},
	"nonces of a server":           {"sessions/state/format.go", `const version = (\d+)`, "sessions/state/testdata/formVERSION.db"},
	"export of nonces":             {"sessions/state/export.go", `const ExportVersion = (\d+)`, "sessions/state/testdata/formats/export-VERSION"},
	"recorded leases":              {"sessions/state/kept_format.go", `versionEnds += (\d+)`, "sessions/state/testdata/formats/open-leases-VERSION"},
	"closing commands":             {"sessions/state/kept_format.go", `versionAny += (\d+)`, "sessions/state/testdata/formats/closing-commands-VERSION"},
	"uses of operations":           {"sessions/state/uses_format.go", `const usesVersion = (\d+)`, "sessions/state/testdata/formats/operation-uses-VERSION"},
	"trials":                       {"cmd/sallyportd/internal/trial/record.go", `const version = (\d+)`, "cmd/sallyportd/internal/trial/testdata/formats/VERSION"},
	"nonces of a fleet":            {"sessions/fleet/record.go", `\tversion += (\d+)`, "sessions/fleet/testdata/vectors.json"},
	"uses of a fleet":              {"sessions/fleet/record.go", `\tversion += (\d+)`, "sessions/fleet/testdata/formats/VERSION"},
	"grants of a fleet":            {"sessions/fleet/grants/value.go", `\tversion = (\d+)`, "sessions/fleet/grants/testdata/vectors.json"},
	"parts of attempts of a fleet": {"sessions/fleet/split/value.go", `\tversion = (\d+)`, "sessions/fleet/split/testdata/vectors.json"},
	"list of clients of a fleet":   {"sessions/fleet/roster/manifest.go", `\tmanifestFormat = (\d+)`, "sessions/fleet/roster/testdata/vectors.json"},
	"presence of a gateway":        {"sessions/fleet/presence/value.go", `\tversion += (\d+)`, "sessions/fleet/presence/testdata/formats/VERSION"},
	"clients file":                 {},
}

// TestFormats compares the table of formats with the code, and requires a kept file of each
// version.
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
		for v := 1; v <= last; v++ {
			kept := filepath.Join(root, strings.ReplaceAll(of.kept, "VERSION", strconv.Itoa(v)))
			if _, err := os.Stat(kept); err != nil {
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
