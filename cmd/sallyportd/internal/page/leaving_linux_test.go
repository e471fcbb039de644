package page

import (
	"net/http"
	"sync"
	"testing"

	"sallyport/verify/challenge/exchange"
)

// back goes back to the entry of the history before this one.
func (p *tab) back() {
	p.t.Helper()
	var h struct {
		CurrentIndex int
		Entries      []struct{ ID int }
	}
	p.do("Page.getNavigationHistory", args{}, &h)
	p.do("Page.navigateToHistoryEntry", args{"entryId": h.Entries[h.CurrentIndex-1].ID}, nil)
	p.until(`document.readyState === "complete" && document.getElementById("passphrase")`)
}

// clean fails if the page shows anything of a visit, or has its passphrase.
func (p *tab) clean(what string) {
	p.t.Helper()
	var shown struct {
		Value, Kind, Status string
		Shows, Hidden, Busy bool
	}
	p.run(`(() => {
		const e = (id) => document.getElementById(id);
		return { Value: e("passphrase").value, Kind: e("passphrase").type, Status: e("status").textContent,
			Shows: e("show").checked, Hidden: e("result").hidden, Busy: e("open").hasAttribute("aria-disabled") };
	})()`, &shown)
	if shown.Value != "" || shown.Kind != "password" || shown.Status != "" || shown.Shows || !shown.Hidden || shown.Busy {
		p.t.Errorf("%s, the page shows %+v", what, shown)
	}
}

// TestLeaving: a page that the browser has left, and shows again, has nothing of the last
// visit: no passphrase, no result, and no exchange that was under way.
func TestLeaving(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	whole, asked, answer := s.Config.Handler, make(chan bool, 9), make(chan bool)
	hold, release := false, sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hold {
			asked <- true
			<-answer
		}
		whole.ServeHTTP(w, r)
	})
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	p := b.open(t)
	p.show(text)
	p.run(`document.getElementById("show").click(); document.getElementById("passphrase").focus()`, nil)
	p.do("Input.insertText", args{"text": passphrase}, nil)
	p.visit("about:blank#1")
	p.back()
	p.clean("after a passphrase that was shown")

	p.submit(passphrase)
	p.visit("about:blank#2")
	p.back()
	p.clean("after a service was opened")

	hold = true
	p.run(`document.getElementById("passphrase").focus()`, nil)
	p.do("Input.insertText", args{"text": passphrase}, nil)
	p.press("Enter", "\r")
	<-asked
	// As a browser does that keeps the page in memory: then scripts continue later.
	p.run(`window.dispatchEvent(new Event("pagehide"))`, nil)
	release()
	p.until(`!document.getElementById("open").hasAttribute("aria-disabled")`)
	p.clean("after an exchange that was under way")
	if proofs, _ := s.proved(); len(proofs) != 1 {
		t.Errorf("%d proofs", len(proofs))
	}
}

// TestTwoTabs: two tabs with one page open the service each, at once, and a second click
// does nothing.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	var tabs [2]*tab
	for i := range tabs {
		p := b.open(t)
		p.show(text)
		p.run(`document.getElementById("passphrase").focus()`, nil)
		p.do("Input.insertText", args{"text": passphrase}, nil)
		tabs[i] = p
	}
	for _, p := range tabs {
		p.run(`document.getElementById("open").click(); document.getElementById("open").click()`, nil)
	}
	for _, p := range tabs {
		p.until(`!document.getElementById("result").hidden && !document.getElementById("open").hasAttribute("aria-disabled")`)
	}
	if proofs, requests := s.proved(); len(proofs) != 2 || requests != 2 {
		t.Errorf("%d proofs of %d requests", len(proofs), requests)
	}
}

// TestSlowDevice: while a slow device checks the passphrase, the page shows that, ignores
// further clicks, and sends nothing if it is left.
func TestSlowDevice(t *testing.T) {
	t.Parallel()
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	p := startBrowser(t).open(t)
	// Each check waits for the function go.
	p.early(`{
		const derive = crypto.subtle.deriveKey.bind(crypto.subtle);
		crypto.subtle.deriveKey = async (...what) => {
			await new Promise((r) => { window.go = r; });
			return derive(...what);
		};
	}`)
	p.show(text)
	begin := func() {
		p.run(`window.go = null; document.getElementById("passphrase").focus()`, nil)
		p.do("Input.insertText", args{"text": passphrase}, nil)
		p.press("Enter", "\r")
		p.until(`window.go`)
	}
	begin()
	p.run(`document.getElementById("open").click()`, nil)
	if got := p.text("status"); got != "Checking the passphrase …" {
		t.Errorf("the page shows %q", got)
	}
	p.run(`window.dispatchEvent(new Event("pagehide")); go()`, nil)
	p.until(`!document.getElementById("open").hasAttribute("aria-disabled")`)
	p.clean("after leaving")
	if _, requests := s.proved(); requests > 0 {
		t.Errorf("%d requests after leaving", requests)
	}
	begin()
	p.run(`document.getElementById("open").click(); go()`, nil)
	p.until(`!document.getElementById("result").hidden && !document.getElementById("open").hasAttribute("aria-disabled")`)
	if proofs, requests := s.proved(); len(proofs) != 1 || requests != 1 {
		t.Errorf("%d proofs of %d requests", len(proofs), requests)
	}
}
