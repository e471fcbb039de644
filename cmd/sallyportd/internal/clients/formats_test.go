package clients

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/cmd/internal/secretfile"
	"sallyport/sessions/formattest"
)

// options are the columns of the form KEY=VALUE that a client can have. The file has no
// version: an option that a release does not know is an error.
var options = []string{"old", "until", "services", "expires", "note"}

// TestFormatsSoFar: a clients file with all options keeps its meaning.
func TestFormatsSoFar(t *testing.T) {
	for _, file := range formattest.Files(t, 1, ".txt") {
		lines, err := Parse(file.Path, bytes.NewReader(file.Text))
		if err != nil {
			t.Fatal(err)
		}
		file.Check(t, formattest.Describe("Clients", Of(lines)))
		for _, key := range options {
			if !bytes.Contains(file.Text, []byte(" "+key+"=")) {
				t.Errorf("%s has no option %s", file.Path, key)
			}
		}
	}
	// The error for another one lists them all.
	_, err := ParseLine("com1 secret 0 new=1")
	if err == nil {
		t.Fatal("an unknown option is accepted")
	}
	var named []string
	for _, m := range regexp.MustCompile(`([a-z]+)=`).FindAllStringSubmatch(err.Error(), -1) {
		named = append(named, m[1])
	}
	if !slices.Equal(named, options) {
		t.Errorf("%v: options %q, want %q", err, named, options)
	}
}

// TestLaterFormat: an option that this release does not know refuses the whole file, also
// for commands that change it, and the file stays as it is.
func TestLaterFormat(t *testing.T) {
	for _, file := range formattest.Files(t, 1, ".txt") {
		path := filepath.Join(t.TempDir(), "clients.txt")
		later := strings.Replace(string(file.Text), "services=web,shell", "services=web,shell limit=3", 1)
		if err := os.WriteFile(path, []byte(later), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path, secretfile.Rules{}, nil)
		edit := Edit(t.Context(), path, func(lines []Line) ([]Line, error) { return lines, nil })
		for what, err := range map[string]error{"read": err, "edit": edit} {
			if err == nil || !strings.Contains(err.Error(), "clients.txt:5: column 5: expected old=SECRET, until=TIME") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != later {
			t.Errorf("the file has changed: %s, %v", text, err)
		}
	}
}

// TestDamagedFormats: no part of a file, and no wrong bit in it, gives a client more services.
// A part without a newline at its end is not used.
func TestDamagedFormats(t *testing.T) {
	for _, file := range formattest.Files(t, 1, ".txt") {
		lines, err := Parse(file.Path, bytes.NewReader(file.Text))
		if err != nil {
			t.Fatal(err)
		}
		limited := map[string]string{}
		for _, c := range Of(lines) {
			limited[string(c.Secret)] = c.Services
		}
		file.EachDamage(1, func(text []byte) {
			lines, err := Parse("clients.txt", bytes.NewReader(text))
			if err != nil || len(text) > 0 && text[len(text)-1] != '\n' {
				return
			}
			for _, c := range Of(lines) {
				if was := limited[string(c.Secret)]; was != "" && c.Services == "" {
					t.Errorf("%q: %s may open all services, not only %s", text, c.Identifier, was)
				}
			}
		})
	}
}
