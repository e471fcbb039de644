package page

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sallyport/cmd/internal/secretfile"
)

// served returns a server's pages: one with a text.
func served(t *testing.T, name string, text []byte) *Pages {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string][]byte{name + ".html": text, name: []byte("no page"), "index.html": []byte("an index"), ".html": nil} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Load(dir, secretfile.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPages: a page is at its path only, and is not kept; all other requests get exactly
// the site's answer, headers included.
func TestPages(t *testing.T) {
	name := Name()
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Server", "Caddy")
		w.WriteHeader(http.StatusNotFound)
		w.Write(append([]byte(r.Method+" "+r.RequestURI+" "), body...))
	})
	h := served(t, name, []byte("the page")).Handler(site)
	get := func(h http.Handler, method, uri string) *http.Response {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "http://x/", strings.NewReader("body"))
		r.RequestURI = uri
		h.ServeHTTP(w, r)
		return w.Result()
	}
	for method, want := range map[string]string{"GET": "the page", "HEAD": ""} {
		r := get(h, method, "/"+name)
		text, _ := io.ReadAll(r.Body)
		if r.StatusCode != http.StatusOK || string(text) != want {
			t.Errorf("%s: %d %q", method, r.StatusCode, text)
		}
		for key, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "frame-ancestors 'none'", "X-Robots-Tag": "noindex, nofollow", "Content-Length": "8",
			"Content-Type": "text/html; charset=utf-8", "Access-Control-Allow-Origin": "",
		} {
			if got := r.Header.Get(key); got != want {
				t.Errorf("%s: %s is %q", method, key, got)
			}
		}
	}
	for _, request := range [][2]string{
		{"POST", "/" + name}, {"PUT", "/" + name}, {"OPTIONS", "/" + name}, {"GET", "/" + name + "?"}, {"GET", "/" + name + "/"},
		{"GET", "/" + name + ".html"}, {"GET", "/" + strings.ToUpper(name)}, {"GET", "//" + name}, {"GET", "/" + Name()},
		{"GET", "/"}, {"GET", "/index"}, {"GET", "/index.html"}, {"GET", "/.html"}, {"GET", "http://x/" + name},
	} {
		got, want := get(h, request[0], request[1]), get(site, request[0], request[1])
		a, _ := io.ReadAll(got.Body)
		b, _ := io.ReadAll(want.Body)
		if got.StatusCode != want.StatusCode || !bytes.Equal(a, b) || !reflect.DeepEqual(got.Header, want.Header) {
			t.Errorf("%v: got %d %v %q, want that of the site", request, got.StatusCode, got.Header, a)
		}
	}
}

// TestLoadRefuses files that other users can read, or that are no files or too long.
func TestLoadRefuses(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"others may read": func(path string) error { return os.WriteFile(path, []byte("x"), 0o644) },
		"regular":         func(path string) error { return os.Mkdir(path, 0o700) },
		"at most":         func(path string) error { return os.WriteFile(path, make([]byte, maxPage+1), 0o600) },
	} {
		dir := t.TempDir()
		if err := make(filepath.Join(dir, Name()+".html")); err != nil {
			t.Fatal(err)
		}
		for _, open := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chmod(open, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(dir, secretfile.Rules{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), secretfile.Rules{}); err == nil {
		t.Error("a directory that does not exist")
	}
}

// TestNames: names and passphrases are random, and of their alphabet.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		for _, text := range []string{Name(), Passphrase()} {
			if seen[text] {
				t.Fatalf("%s twice", text)
			}
			seen[text] = true
		}
	}
	if name := Name(); !isName(name) || isName(name[1:]) || isName(name[1:]+"I") {
		t.Errorf("isName of %s", name)
	}
	p := strings.Split(Passphrase(), "-")
	if len(p) != 4 || len(p[0]) != 4 || strings.Trim(strings.Join(p, ""), alphabet) != "" {
		t.Errorf("the passphrase is %v", p)
	}
}
