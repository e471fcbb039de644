package statuspage

import (
	"fmt"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/bench/browser"
)

// withoutPolicy returns a page in which the probe's script may run.
func withoutPolicy(t *testing.T, text string) string {
	t.Helper()
	begin := strings.Index(text, `<meta http-equiv="Content-Security-Policy"`)
	if begin < 0 {
		t.Fatal("the page has no policy")
	}
	return text[:begin] + text[begin+strings.Index(text[begin:], ">")+1:]
}

// TestStatusPageFits: at both widths nothing is cut off or too wide. The page as it is, with
// its policy, is light or dark, as the browser is. SALLYPORT_TEST_SCREENSHOTS names a
// directory for the screenshots.
func TestStatusPageFits(t *testing.T) {
	chromium := browser.Find(t)
	dir := os.Getenv("SALLYPORT_TEST_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	for name, in := range map[string]Input{"status": full(), "status-hostile": hostilePage(), "status-empty": {}} {
		text := pageOf(t, in)
		for _, width := range browser.Widths {
			s := chromium.Probe(t, withoutPolicy(t, text), width)
			for _, misfit := range s.Misfits {
				t.Errorf("%s at %d pixels: %s", name, width, misfit)
			}
			if name != "status" {
				continue
			}
			prefix := fmt.Sprintf("%s-%d", filepath.Join(dir, name), width)
			chromium.Screenshots(t, text, width, s.Height, prefix)
			for scheme, paper := range map[string]color.RGBA{"light": {255, 255, 255, 255}, "dark": {0x12, 0x17, 0x1d, 255}} {
				if got := corner(t, prefix+"-"+scheme+".png"); got != paper {
					t.Errorf("%s at %d pixels, %s: the paper is %v", name, width, scheme, got)
				}
			}
		}
	}
}

// corner returns the colour of a picture's corner.
func corner(t *testing.T, path string) color.RGBA {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return color.RGBAModel.Convert(picture.At(2, 2)).(color.RGBA)
}

// TestStatusPageAsksForNothing: the browser asks for nothing but the page, whatever texts it
// has. If the same texts were elements, the policy would still forbid what they ask for;
// without a policy too, the server would hear it.
func TestStatusPageAsksForNothing(t *testing.T) {
	chromium := browser.Find(t)
	text := pageOf(t, hostilePage())
	broken := strings.Replace(text, "</main>", hostile+`<link rel="stylesheet" href="/stolen"><iframe src="/stolen"></iframe></main>`, 1)
	for _, row := range []struct {
		name, page string
		asks       bool
	}{{"the page", text, false}, {"broken, with the policy", broken, false}, {"broken, without it", withoutPolicy(t, broken), true}} {
		var mu sync.Mutex
		asked := map[string]int{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked[r.URL.Path]++
			mu.Unlock()
			if r.URL.Path == "/page" {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, row.page)
			}
		}))
		chromium.Run(t, server.URL+"/page", "--dump-dom")
		server.Close()
		delete(asked, "/favicon.ico") // the browser's own request for any page
		if asked["/page"] != 1 || (len(asked) > 1) != row.asks || row.asks && asked["/stolen"] == 0 {
			t.Errorf("%s: asked for %v", row.name, asked)
		}
	}
}
