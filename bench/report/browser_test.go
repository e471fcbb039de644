package report

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
	"slices"
	"strings"
	"testing"
	"time"
)

// probe is a script that opens everything folded, and lists the elements that do not fit.
//
//go:embed testdata/probe.js
var probe string

// widths are those of a laptop's window and of a telephone.
var widths = []int{1280, 390}

// TestPagesFit shows pages in a browser, and fails if anything is cut off, or if texts of
// a picture overlap. SALLYPORT_TEST_PAGES names more pages, and SALLYPORT_TEST_SCREENSHOTS
// a directory for screenshots of these and of the example.
func TestPagesFit(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser := findBrowser(t)
	full, earlier := readFixture(t, "result.json"), readFixture(t, "earlier.json")
	pages := map[string]string{
		"example": pageOf(t, full), "earlier": pageOf(t, earlier), "earlier-compare": comparisonOf(t, earlier, full), "empty": pageOf(t, Result{}),
	}
	shoot := []string{"example"}
	for _, path := range filepath.SplitList(os.Getenv("SALLYPORT_TEST_PAGES")) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".html")
		pages[name], shoot = string(b), append(shoot, name)
	}
	dir := os.Getenv("SALLYPORT_TEST_SCREENSHOTS")
	for name, text := range pages {
		for _, width := range widths {
			s := browser.probe(t, text, width)
			for _, misfit := range s.Misfits {
				t.Errorf("%s at %d pixels: %s", name, width, misfit)
			}
			if dir != "" && slices.Contains(shoot, name) {
				browser.screenshots(t, text, size(width, s.Height), fmt.Sprintf("%s-%d", filepath.Join(dir, name), width))
			}
		}
	}
}

// TestProbe checks that the probe finds faults.
func TestProbe(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser := findBrowser(t)
	faults := map[string]string{
		"wide":    `<table><tr><td style="white-space:nowrap">` + strings.Repeat("NAME ", 400) + `</table>`,
		"folded":  `<details><summary>x</summary><div style="width:2000px">NAME</div></details>`,
		"cut":     `<div style="overflow:hidden;width:50px"><div style="width:80px">NAME</div></div>`,
		"outside": `<svg viewBox="0 0 100 20" width="100"><text x="90" y="10">NAME</text></svg>`,
		"overlap": `<svg viewBox="0 0 100 20" width="100"><text x="0" y="15">NAME</text><text x="9" y="15">two</text></svg>`,
	}
	body, sound := "", `<svg viewBox="0 0 300 20" width="300"><text x="0" y="15">sound</text><text x="99" y="15">two</text></svg>`
	for name, fault := range faults {
		body += strings.ReplaceAll(fault, "NAME", name)
	}
	misfits := strings.Join(browser.probe(t, "<!DOCTYPE html><body>"+body+sound+"</body>", 1280).Misfits, "\n")
	for name := range faults {
		if !strings.Contains(misfits, name) {
			t.Errorf("%s is not in\n%s", name, misfits)
		}
	}
	if !strings.Contains(misfits, "the page is") || strings.Contains(misfits, "sound") {
		t.Error(misfits)
	}
}

type browser string

func findBrowser(t *testing.T) browser {
	t.Helper()
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return browser(path)
		}
	}
	t.Skip("no Chromium (Debian: chromium-headless-shell)")
	return ""
}

// run shows a page. The browser runs without its sandbox, which root cannot use: the page
// is the test's.
func (b browser) run(t *testing.T, text string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + filepath.Join(dir, "data")}, args...)
	c := exec.CommandContext(ctx, string(b), append(args, "file://"+file)...)
	var problems strings.Builder
	c.Stderr = &problems
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", b, err, &problems)
	}
	return string(out)
}

// shown is the report of the probe.
type shown struct {
	Width   int      `json:"width"`
	Height  int      `json:"height"` // with everything folded
	Misfits []string `json:"misfits"`
}

var probed = regexp.MustCompile(`data-probe="([^"]*)"`)

func (b browser) probe(t *testing.T, text string, width int) (s shown) {
	t.Helper()
	text = strings.Replace(text, "</body>", "<script>"+probe+"</script></body>", 1)
	dom := b.run(t, text, size(width, 1000), "--dump-dom")
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

// screenshots writes two pictures of a page, light and dark.
func (b browser) screenshots(t *testing.T, text, size, prefix string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(prefix), 0o755); err != nil {
		t.Fatal(err)
	}
	for scheme, setting := range []string{"dark", "light"} { // Blink's numbers of them
		b.run(t, text, size, fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme),
			fmt.Sprintf("--screenshot=%s-%s.png", prefix, setting))
	}
}
