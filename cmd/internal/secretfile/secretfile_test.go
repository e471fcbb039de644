package secretfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadOne(t *testing.T) {
	for text, want := range map[string]string{
		"sécret\n": "sécret", "two words\r\n": "two words", "bare": "bare",
		"": "", "\n": "", "a\nb\n": "", "\xff": "", strings.Repeat("x", maxSecret+1): "",
	} {
		got, err := ReadOne(write(t, text, 0o600))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: got %q, %v", text, got, err)
		}
		if err != nil && text != "" && strings.Contains(err.Error(), "xx") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	if _, err := ReadOne(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestDirectory(t *testing.T) {
	if _, err := ReadOne(t.TempDir()); err == nil || !strings.Contains(err.Error(), "got a directory") {
		t.Errorf("got %v", err)
	}
}

func FuzzReadOne(f *testing.F) {
	f.Add("secret\n")
	f.Add("two\nlines")
	path := filepath.Join(f.TempDir(), "secret")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := ReadOne(path)
		if err == nil && (s == "" || strings.ContainsAny(s, "\r\n") || !strings.HasPrefix(text, s)) {
			t.Fatalf("%q became %q", text, s)
		}
	})
}

func TestExposed(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o622: true, 0o644: true} {
		_, err := ReadOne(write(t, "secret", mode))
		var exposed *ExposedError
		if got := errors.As(err, &exposed); got != want {
			t.Errorf("mode %o: %v", mode, err)
		}
		if want && !strings.Contains(exposed.Hint(), "chmod 600") {
			t.Errorf("mode %o: hint %q", mode, exposed.Hint())
		}
	}
}
