package page

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/verify/challenge/exchange"
)

// audit is a script that lists the faults of what a page shows.
//
//go:embed testdata/audit.js
var audit string

// look sets the width of the window in CSS pixels, and the colour scheme.
func (p *tab) look(width, height int, scheme string) {
	p.t.Helper()
	p.do("Emulation.setDeviceMetricsOverride", args{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": true}, nil)
	p.do("Emulation.setEmulatedMedia", args{"features": []args{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

func (p *tab) audit(what string) {
	p.t.Helper()
	var faults []string
	p.run(audit, &faults)
	for _, f := range faults {
		p.t.Errorf("%s: %s", what, f)
	}
}

// TestLayout: all states of the page fit in 320 pixels, with contrast, labels and targets
// for fingers, light and dark. SALLYPORT_TEST_SCREENSHOTS names a directory for pictures;
// those of the guide are in pictures/.
func TestLayout(t *testing.T) {
	s := newServer(t, "127.0.0.1", exchange.Mutual, false, notFound)
	plan := planFor(s, "four.test")
	plan.Service, plan.Host, plan.Scheme, plan.Port = "shop", "gate.with-a-long-name.example.org", "http", 8443
	text, passphrase := quickPage(t, plan)
	p := startBrowser(t).open(t)
	p.show(text)
	states := []struct {
		name  string
		reach func()
	}{
		{"locked", func() {}},
		{"wrong", func() { p.submit("wrong") }},
		{"open", func() { p.submit(passphrase) }},
	}
	for _, state := range states {
		state.reach()
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int{320, 1280} {
				p.look(width, 640, scheme)
				p.audit(fmt.Sprintf("%s, %s, %d pixels", state.name, scheme, width))
			}
		}
		if dir := os.Getenv("SALLYPORT_TEST_SCREENSHOTS"); dir != "" && state.name != "wrong" {
			p.pictures(s, dir, state.name)
		}
	}
}

// pictures writes pictures of a state, with names and addresses of examples.
func (p *tab) pictures(s *server, dir, state string) {
	p.t.Helper()
	p.run(`for (const e of document.querySelectorAll("b, #who")) e.textContent = e.textContent.replace("`+
		strings.TrimPrefix(s.url("four.test"), "https://")+`", "www.example.org").replace("127.0.0.1", "192.0.2.7")`, nil)
	p.run(`document.activeElement.blur()`, nil)
	for _, kind := range []struct {
		width, height int
		scheme        string
	}{{560, 380, "light"}, {560, 380, "dark"}, {320, 400, "light"}} {
		p.look(kind.width, kind.height, kind.scheme)
		var r struct{ Data string }
		p.do("Page.captureScreenshot", args{"format": "webp", "quality": 90, "captureBeyondViewport": true}, &r)
		b, err := base64.StdEncoding.DecodeString(r.Data)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.webp", state, kind.scheme, kind.width)), b, 0o644)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// TestAudit checks that the audit finds faults.
func TestAudit(t *testing.T) {
	p := startBrowser(t).open(t)
	p.show([]byte(`<!DOCTYPE html><meta name="viewport" content="width=device-width"><main>
		<p id="wide" style="width:900px">x</p><p id="pale" style="color:#999">x</p><input id="bare"><button id="small">x</button></main>`))
	p.look(320, 640, "light")
	var faults []string
	p.run(audit, &faults)
	found := strings.Join(faults, "\n")
	for _, want := range []string{"the page is", "wide does not fit", "pale has a contrast", "bare has no label", "small is"} {
		if !strings.Contains(found, want) {
			t.Errorf("%q is not in\n%s", want, found)
		}
	}
}

// TestKeyboard: all is reached by the keyboard, in the order of the page; the state is
// announced, and the seconds are not.
func TestKeyboard(t *testing.T) {
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	plan := planFor(s, "four.test")
	plan.Scheme = "http"
	text, passphrase := quickPage(t, plan)
	p := startBrowser(t).open(t)
	p.show(text)
	focus := func() (id string) {
		p.run("document.activeElement.id", &id)
		return id
	}
	p.press("Tab", "")
	if focus() != "passphrase" {
		t.Fatalf("the first focus is %q", focus())
	}
	p.do("Input.insertText", args{"text": passphrase}, nil)
	p.press("Tab", "")
	p.press(" ", " ")
	var kind string
	if p.run(`document.getElementById("passphrase").type`, &kind); focus() != "show" || kind != "text" {
		t.Errorf("the focus is at %s, the passphrase is a field of type %s", focus(), kind)
	}
	p.press("Tab", "")
	p.press("Enter", "\r")
	p.until(`!document.getElementById("result").hidden && !document.getElementById("open").hasAttribute("aria-disabled")`)
	p.press("Tab", "")
	if focus() != "link" {
		t.Errorf("after Open, the next focus is %q", focus())
	}
	var live []string
	p.run(`["status", "time"].map((id) => document.getElementById(id).getAttribute("aria-live"))`, &live)
	if !slices.Equal(live, []string{"polite", "off"}) {
		t.Errorf("live regions: %v", live)
	}
	if proofs, _ := s.proved(); len(proofs) != 1 {
		t.Errorf("%d proofs", len(proofs))
	}
}
