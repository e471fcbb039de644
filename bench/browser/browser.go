// Package browser shows pages in a headless Chromium, for tests: do they fit, and how do
// they look?
//
//	Find           the browser; a test without one skips
//	Probe          what does not fit at a width, with everything folded opened
//	Screenshots    a picture, light and dark
//	Run            anything else
package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Widths are those of a laptop's window and of a telephone.
var Widths = []int{1280, 390}

// probe is a script that opens everything folded, and lists the elements that do not fit.
//
//go:embed testdata/probe.js
var probe string

// Browser is the path of a Chromium.
type Browser string

// Find returns the browser of this host. Without one, and with -short, the test skips.
func Find(t *testing.T) Browser {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return Browser(path)
		}
	}
	t.Skip("no Chromium (Debian: chromium-headless-shell)")
	return ""
}

// show runs the browser with a page as text.
func (b Browser) show(t *testing.T, text string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b.Run(t, "file://"+file, args...)
}

// Run runs the browser with a URL, and returns its output. It runs without its sandbox, which
// root cannot use: all pages are the test's.
func (b Browser) Run(t *testing.T, url string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + filepath.Join(t.TempDir(), "data")}, args...)
	c := exec.CommandContext(ctx, string(b), append(args, url)...)
	var problems strings.Builder
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", b, err, &problems)
	}
	return string(out)
}

// Shown is the report of a probe.
type Shown struct {
	Width   int      `json:"width"`
	Height  int      `json:"height"` // with everything folded
	Misfits []string `json:"misfits"`
}

var probed = regexp.MustCompile(`data-probe="([^"]*)"`)

// Probe shows a page at a width. The page must allow scripts.
func (b Browser) Probe(t *testing.T, text string, width int) (s Shown) {
	t.Helper()
	text = strings.Replace(text, "</body>", "<script>"+probe+"</script></body>", 1)
	dom := b.show(t, text, size(width, 1000), "--dump-dom")
	m := probed.FindStringSubmatch(dom)
	if m == nil {
		t.Fatalf("the probe did not run: %.300s", dom)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &s); err != nil {
		t.Fatal(err)
	}
	if s.Width != width {
		t.Fatalf("the browser has a width of %d, expected %d", s.Width, width)
	}
	return s
}

func size(width, height int) string { return fmt.Sprintf("--window-size=%d,%d", width, height) }

// Screenshots writes two pictures of a page, PREFIX-light.png and PREFIX-dark.png.
func (b Browser) Screenshots(t *testing.T, text string, width, height int, prefix string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		t.Fatal(err)
	}
	for scheme, setting := range []string{"dark", "light"} { // Blink's numbers of them
		b.show(t, text, size(width, height), fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme),
			fmt.Sprintf("--screenshot=%s-%s.png", prefix, setting))
	}
}
