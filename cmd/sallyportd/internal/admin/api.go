package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Version is the version of the interface. ADMIN.md describes it, and what a version may
// change.
const Version = 1

const (
	// prefix is before the path of each request of this version. Without it, a request
	// means the same, and its errors are plain text, as those of earlier releases.
	prefix = "/v1/"
	// versionHeader has the version in each response.
	versionHeader = "Sallyport-Api"
)

// versioned serves requests with and without the prefix.
func versioned(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(versionHeader, strconv.Itoa(Version))
		path, is := strings.CutPrefix(r.URL.Path, prefix)
		if !is {
			next.ServeHTTP(w, r)
			return
		}
		unprefixed := *r
		unprefixed.URL = &url.URL{Path: "/" + path, RawQuery: r.URL.RawQuery}
		t := &typed{ResponseWriter: w}
		if path == "state" {
			w.Header().Set("Content-Type", "application/octet-stream")
		}
		next.ServeHTTP(t, &unprefixed)
		t.finish()
	})
}

// apiError is the response to a request that is refused or fails.
type apiError struct {
	Error string `json:"error"`
	Hint  string `json:"hint"` // empty: nothing in particular
}

// typed is a response whose errors are JSON: it keeps the text of an error until the end.
type typed struct {
	http.ResponseWriter
	begun  bool
	failed bool
	text   strings.Builder
}

func (t *typed) WriteHeader(status int) {
	if t.begun {
		return
	}
	t.begun, t.failed = true, status >= http.StatusBadRequest
	header := t.Header()
	if t.failed || header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *typed) Write(b []byte) (int, error) {
	t.WriteHeader(http.StatusOK)
	if t.failed {
		return t.text.Write(b)
	}
	return t.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (t *typed) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *typed) finish() {
	if !t.failed {
		return
	}
	todo, _ := url.PathUnescape(t.Header().Get(hintHeader))
	json.NewEncoder(t.ResponseWriter).Encode(apiError{strings.TrimSpace(t.text.String()), todo})
}

// errorText returns the text of an error: of JSON, or of earlier releases.
func errorText(body []byte) string {
	var e apiError
	if json.Unmarshal(body, &e) == nil && e.Error != "" {
		return e.Error
	}
	return strings.TrimSpace(string(body))
}
