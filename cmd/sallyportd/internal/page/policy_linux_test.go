package page

import (
	_ "embed"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/verify/challenge/exchange"
)

// escape is a script that tries to reach another server, and to run what is no script of
// the page.
//
//go:embed testdata/escape.js
var escape string

// TestPolicy: opened as a file, and served, a page has a content policy that forbids
// requests to other servers, and other scripts. The page of a browser that obeys no policy
// shows that the script tries in earnest.
func TestPolicy(t *testing.T) {
	b := startBrowser(t)
	for name, c := range map[string]struct{ served, without bool }{
		"as a file": {}, "served": {served: true}, "without a policy": {without: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached := atomic.Int32{}
			other := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
			other.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				reached.Add(1)
				w.Header().Set("Access-Control-Allow-Origin", "*")
			})
			s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
			text, _ := quickPage(t, planFor(s, "four.test"))
			p := b.open(t)
			if c.without {
				text = []byte(strings.Replace(string(text), "Content-Security-Policy", "X-Policy", 1))
			}
			if c.served {
				name := Name()
				s.Config.Handler = served(t, name, text).Handler(s.Config.Handler)
				p.visit(s.url("four.test") + "/" + name)
			} else {
				p.show(text)
			}
			var faults []string
			p.run("window.elsewhere = "+quoted(other.url("four.test")), nil)
			p.run(escape, &faults)
			if c.without != (len(faults) > 0) || c.without != (reached.Load() > 0) {
				t.Errorf("%d requests reached another server; %q", reached.Load(), faults)
			}
		})
	}
}

// quoted is a text in a script.
func quoted(text string) string { return `decodeURIComponent("` + url.PathEscape(text) + `")` }

// TestWithoutScripts: a browser that runs no scripts shows why nothing happens, and sends
// nothing if someone types the passphrase.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	p := startBrowser(t).open(t)
	p.do("Emulation.setScriptExecutionDisabled", args{"value": true}, nil)
	p.show(text)
	if shown := p.body(); !strings.Contains(shown, "This page requires JavaScript.") {
		t.Errorf("the page shows %q", shown)
	}
	p.run(`document.getElementById("passphrase").focus()`, nil)
	p.do("Input.insertText", args{"text": passphrase}, nil)
	p.press("Enter", "\r")
	var at string
	if p.run("location.href", &at); strings.Contains(at, "?") {
		t.Errorf("the page is at %s", at)
	}
	p.quietExcept(s.url("four.test"), "form-action")
}

// TestInsecurePage: a page that is served without TLS shows at once that browsers give it
// no cryptography, before someone types the passphrase.
func TestInsecurePage(t *testing.T) {
	t.Parallel()
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(text) }))
	t.Cleanup(plain.Close)
	p := startBrowser(t).open(t)
	p.visit(strings.Replace(plain.URL, "127.0.0.1", "four.test", 1))
	const want = "This browser gives a page no cryptography here."
	if got := p.text("status"); !strings.HasPrefix(got, want) {
		t.Errorf("the page shows %q", got)
	}
	p.submit(passphrase)
	if got := p.text("status"); !strings.HasPrefix(got, want) {
		t.Errorf("the page shows %q", got)
	}
	if _, requests := s.proved(); requests > 0 {
		t.Errorf("%d requests", requests)
	}
}

// TestNamesAreTexts: names with HTML, and names from right to left, are shown as they are,
// and change nothing else.
func TestNamesAreTexts(t *testing.T) {
	t.Parallel()
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	plan := planFor(s, "four.test")
	plan.Service, plan.Host, plan.Scheme = `<img src=x onerror="document.title='x'">`, "שער.example.org", "http"
	text, passphrase := quickPage(t, plan)
	p := startBrowser(t).open(t)
	p.show(text)
	p.submit(passphrase)
	if got, want := p.text("outcome"), "Service "+plan.Service+" is open"; got != want {
		t.Errorf("the page shows %q, want %q", got, want)
	}
	if got, want := p.text("link"), "http://"+plan.Host+":8022/"; got != want {
		t.Errorf("the link is %q, want %q", got, want)
	}
	var seen struct {
		Title, Link   string
		Images        int
		PortIsOnRight bool
	}
	p.run(`(() => {
		const link = document.getElementById("link"), port = document.createRange();
		port.selectNodeContents(link.lastChild);
		return {
			Title: document.title, Link: link.href, Images: document.images.length,
			PortIsOnRight: port.getBoundingClientRect().left >= link.querySelector("bdi").getBoundingClientRect().right - 1,
		};
	})()`, &seen)
	if seen.Title != "Open a service" || seen.Images > 0 || seen.Link != "http://xn--nebmb.example.org:8022/" || !seen.PortIsOnRight {
		t.Errorf("the page has %+v", seen)
	}
	p.quiet(s.url("four.test"))
}
