package page

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sallyport/cmd/internal/secretfile"
)

const (
	// MaxPages is how many pages a server serves, and maxPage how long one may be, in bytes.
	MaxPages = 1024
	maxPage  = 1 << 17

	// Extension is that of the file of a page.
	Extension = ".html"

	nameSize = 26 // characters of 5 bits
)

// Name returns a random name of 130 bits for a page that a server serves. Its path is
// /NAME, its file NAME.html.
func Name() string { return random(nameSize) }

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	for i, c := range b {
		b[i] = alphabet[c%byte(len(alphabet))]
	}
	return string(b)
}

// Pages are the pages that a server serves, in memory. They are immutable.
type Pages struct {
	byName map[[sha256.Size]byte][]byte // by the hash of the path: see Handler
}

// Load reads the pages of a directory: the files that have names of Name. It ignores
// others.
func Load(dir string, rules secretfile.Rules) (*Pages, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	p := &Pages{byName: map[[sha256.Size]byte][]byte{}}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), Extension)
		if !ok || !isName(name) {
			continue
		}
		if len(p.byName) == MaxPages {
			return nil, fmt.Errorf("%s: expected at most %d pages, got more", dir, MaxPages)
		}
		text, err := read(filepath.Join(dir, e.Name()), rules)
		if err != nil {
			return nil, err
		}
		p.byName[sha256.Sum256([]byte("/"+name))] = text
	}
	return p, nil
}

func isName(text string) bool {
	return len(text) == nameSize && strings.Trim(text, alphabet) == ""
}

func read(path string, rules secretfile.Rules) ([]byte, error) {
	f, err := rules.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPage+1))
	if err == nil && len(text) > maxPage {
		err = errors.New("expected a page of at most " + strconv.Itoa(maxPage) + " bytes, got more")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// Handler serves the pages at their paths, and hands all other requests on to a site. The
// path is found by its hash, so the time does not depend on how much of it is right.
func (p *Pages) Handler(site http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.RequestURI) == 1+nameSize && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			if text, ok := p.byName[sha256.Sum256([]byte(r.RequestURI))]; ok {
				serve(w, r, text)
				return
			}
		}
		site.ServeHTTP(w, r)
	})
}

// serve sends a page. The rest of its policy is in it.
func serve(w http.ResponseWriter, r *http.Request, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Content-Security-Policy", "frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	if r.Method == http.MethodGet {
		w.Write(text) // an error is the client's, which is gone
	}
}
