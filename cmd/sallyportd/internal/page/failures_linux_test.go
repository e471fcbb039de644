package page

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// TestFailures: what the page shows if nothing opens, and that it then responds to
// nothing.
func TestFailures(t *testing.T) {
	b := startBrowser(t)
	hostile := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Write([]byte(answer))
		}
	}
	page := string(carrier.AppendPage(nil, make([]byte, 4+exchange.MACSize+exchange.NonceSize)))
	const script = `<script>document.title = "hostile"</script><img src=x onerror="document.title = 'hostile'">`
	for name, c := range map[string]struct {
		site     http.HandlerFunc
		change   func(*Plan)
		prepare  func(*tab, *server)
		want     string
		requests int
	}{
		"silent": {site: notFound, prepare: func(_ *tab, s *server) { s.setSilent() }, want: "does not offer to open", requests: 2},
		"redirect": {site: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/x", http.StatusMovedPermanently)
			}
		}, prepare: func(_ *tab, s *server) { s.setSilent() }, want: "does not offer to open", requests: 2},
		"offline": {prepare: func(p *tab, _ *server) {
			p.do("Network.emulateNetworkConditions", args{"offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}, nil)
		}, want: "This device is offline"},
		"unreachable": {prepare: func(_ *tab, s *server) { s.Close() }, want: "does not reach the server"},
		"expired":     {change: func(p *Plan) { p.Expires = time.Now().Add(-time.Second) }, want: "This page has expired"},
		"old secret":  {site: notFound, change: func(p *Plan) { p.Secret += "x" }, want: "not made with the secret of this page", requests: 1},
		"forged":      {site: hostile(page), prepare: func(_ *tab, s *server) { s.setSilent() }, want: "not made with the secret of this page", requests: 1},
		"script in the challenge": {site: hostile(strings.Replace(page, `value="`, `value="">`+script+`<input value="`, 1)),
			prepare: func(_ *tab, s *server) { s.setSilent() }, want: "does not offer to open", requests: 2},
		"script beside it": {site: hostile(page + script), prepare: func(_ *tab, s *server) { s.setSilent() }, want: "does not offer to open", requests: 2},
		"endless":          {site: hostile(strings.Repeat(page, 10_000)), prepare: func(_ *tab, s *server) { s.setSilent() }, want: "does not offer to open", requests: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "127.0.0.1", exchange.NATAware, false, c.site)
			plan := planFor(s, "four.test")
			if c.change != nil {
				c.change(&plan)
			}
			text, passphrase := quickPage(t, plan)
			p := b.open(t)
			p.show(text)
			if c.prepare != nil {
				c.prepare(p, s)
			}
			p.submit(passphrase)
			if got := p.text("status"); !strings.Contains(got, c.want) {
				t.Errorf("the page shows %q, want %q", got, c.want)
			}
			var title string
			var hidden bool
			p.run("document.title", &title)
			p.run(`document.getElementById("result").hidden`, &hidden)
			if title != "Open a service" || !hidden {
				t.Errorf("the title is %q, the result is hidden: %t", title, hidden)
			}
			if proofs, requests := s.proved(); len(proofs) != 0 || requests != c.requests {
				t.Errorf("%d proofs of %d requests", len(proofs), requests)
			}
		})
	}
}

// TestReload: a page that is loaded again shows nothing, sends nothing, and repeats no
// exchange. The server counts a new one.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	p := startBrowser(t).open(t)
	p.show(text)
	p.submit(passphrase)
	p.run("window.before = true", nil)
	p.do("Page.reload", args{}, nil)
	p.until(`!window.before && document.readyState === "complete"`)
	var clean bool
	if p.run(`!document.getElementById("passphrase").value && document.getElementById("result").hidden`, &clean); !clean || p.text("status") != "" {
		t.Errorf("after a reload the page shows %q", p.text("status"))
	}
	if proofs, requests := s.proved(); len(proofs) != 1 || requests != 1 {
		t.Errorf("after a reload: %d proofs of %d requests", len(proofs), requests)
	}
	s.setSilent() // the operation is used up
	p.submit(passphrase)
	if got := p.text("status"); !strings.Contains(got, "has been used already") {
		t.Errorf("the page shows %q", got)
	}
}

// TestTimeIsOver: the page counts down, and shows the end; also if the time ends before
// the page knows that its response has arrived, or while it tries the service.
func TestTimeIsOver(t *testing.T) {
	b := startBrowser(t)
	for name, c := range map[string]struct{ early, scheme string }{
		"counted": {},
		// Within the request with this number, or later, an hour passes.
		"with the response": {early: `const late = 2;`},
		"with a try":        {early: `const late = 3;`, scheme: "https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
			plan := planFor(s, "four.test")
			plan.OpenFor, plan.Scheme = 2*time.Second, c.scheme
			text, passphrase := quickPage(t, plan)
			p := b.open(t)
			if c.early != "" {
				p.early("{" + c.early + `
					const now = Date.now, send = fetch, every = setInterval, wait = setTimeout;
					let requests = 0;
					Date.now = () => now() + (requests < late ? 0 : 3600e3);
					window.fetch = (...what) => (requests++, send(...what));
					window.setInterval = (f) => every(f, 1);
					window.setTimeout = (f, ms) => wait(f, ms < 10000 ? ms / 10 : ms);
				}`)
			}
			p.show(text)
			p.submit(passphrase)
			p.until(`document.getElementById("outcome").textContent === "Service shop is closed again"`)
			if got := p.text("status"); !strings.HasPrefix(got, "The time is over.") {
				t.Errorf("the page shows %q", got)
			}
		})
	}
}
