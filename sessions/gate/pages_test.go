package gate

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	h := Pages()
	for path, want := range map[string]int{
		"/test1.html": 200, "/test2.html": 200, "/test3.html": 200,
		"/": 404, "/test4.html": 404, "/pages/test1.html": 404, "/test1.html/": 404,
	} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest("GET", path, nil))
		if r.Code != want {
			t.Errorf("%s: %d, want %d", path, r.Code, want)
		}
		if want == 200 && !strings.Contains(r.Body.String(), "You knocked correctly") {
			t.Errorf("%s: %s", path, r.Body)
		}
	}
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest("HEAD", "/testData.dat", nil))
	if r.Code != 200 || r.Body.Len() != 0 {
		t.Errorf("HEAD of the endless file: %d, %d bytes", r.Code, r.Body.Len())
	}
	r = httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest("POST", "/test1.html", nil))
	if r.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.Code)
	}
}

func TestDirectory(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	for path, text := range map[string]string{filepath.Join(outside, "secret"): "no", filepath.Join(dir, "page.html"): "yes"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	h, err := Directory(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/page.html": "yes", "/link": "", "/../secret": "", "/none": ""} {
		r := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/", nil)
		req.URL.Path = path
		h.ServeHTTP(r, req)
		if served := r.Code == 200; served != (want != "") || served && r.Body.String() != want {
			t.Errorf("%s: %d %s", path, r.Code, r.Body)
		}
	}
	if _, err := Directory(filepath.Join(dir, "page.html")); err == nil {
		t.Error("a file was taken for a directory")
	}
	if _, err := Directory(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing directory accepted")
	}
}
