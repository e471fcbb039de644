package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/bench/browser"
)

// TestPagesFit shows pages in a browser, and fails if anything is cut off, or if texts of
// a picture overlap. SALLYPORT_TEST_PAGES names more pages, and SALLYPORT_TEST_SCREENSHOTS
// a directory for screenshots of these and of the example.
func TestPagesFit(t *testing.T) {
	chromium := browser.Find(t)
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
		for _, width := range browser.Widths {
			s := chromium.Probe(t, text, width)
			for _, misfit := range s.Misfits {
				t.Errorf("%s at %d pixels: %s", name, width, misfit)
			}
			if dir != "" && slices.Contains(shoot, name) {
				chromium.Screenshots(t, text, width, s.Height, fmt.Sprintf("%s-%d", filepath.Join(dir, name), width))
			}
		}
	}
}
