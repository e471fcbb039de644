package secretfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/sessions/client/profilefile"
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

func readOne(path string) (string, error) { return Rules{}.ReadOne(path) }

func TestReadOne(t *testing.T) {
	for text, want := range map[string]string{
		"sécret\n": "sécret", "two words\r\n": "two words", "bare": "bare", "\ufeffmarked\r\n\r\n": "marked",
		"": "", "\n": "", "a\nb\n": "", "\xff": "", strings.Repeat("x", MaxSecret+1): "",
		"xx \n": "", " xx": "", "xx\t\n": "", "xx\r\r\n": "", "xx\r": "", "xx\u00a0\n": "", "xx  xx\n": "", "x\u200bx": "",
		"x\ufeffx": "", "\ufeff\ufeffxx": "", "xx\ryy\n": "", "\xff\xfex\x00x\x00": "", "x\x00x\x00\n\x00": "", " \n": "",
	} {
		got, err := readOne(write(t, text, 0o600))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: got %q, %v", text, got, err)
		}
		if err != nil && text != "" && strings.Contains(err.Error(), "xx") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	if _, err := readOne(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestDirectory(t *testing.T) {
	if _, err := readOne(t.TempDir()); err == nil || !strings.Contains(err.Error(), "got a directory") {
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
		s, err := readOne(path)
		if err == nil && (s == "" || strings.ContainsAny(s, "\r\n") || !strings.HasPrefix(strings.TrimPrefix(text, "\ufeff"), s) || profilefile.SecretFault(s) != "") {
			t.Fatalf("%q became %q", text, s)
		}
	})
}
