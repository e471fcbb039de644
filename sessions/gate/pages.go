package gate

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
)

//go:embed pages
var embedded embed.FS

// Pages serves the test pages of the paper's embedded web server:
// /test1.html, /test2.html, /test3.html, an endless /testData.dat, and 404
// elsewhere.
func Pages() http.Handler {
	pages, err := fs.Sub(embedded, "pages")
	if err != nil {
		panic(err) // the name is a constant
	}
	mux := http.NewServeMux()
	for _, name := range []string{"test1.html", "test2.html", "test3.html"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, pages, name)
		})
	}
	mux.HandleFunc("GET /testData.dat", endless)
	return mux
}

// endless sends a repeated pattern until the client disconnects or is cut off.
func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.Method == http.MethodHead {
		return
	}
	chunk := []byte(strings.Repeat("0123456789abcdef", 4096))
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// Directory serves the files of a directory, and none outside of it, including
// targets of symbolic links.
func Directory(path string) (http.Handler, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open the directory to serve: %w", err)
	}
	return http.FileServerFS(root.FS()), nil
}
