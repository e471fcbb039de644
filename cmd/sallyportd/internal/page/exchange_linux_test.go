package page

import (
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/verify/challenge/exchange"
)

// planFor is a plan for an operation of a server.
func planFor(s *server, host string) Plan {
	return Plan{
		URL: s.url(host), ID: testID, Secret: testSecret, Algorithm: s.operation.Algorithm(), RandomPort: s.operation.RandomPort(),
		Public4: public4, Public6: public6, Service: "shop", Host: "shop.test", Port: 8022, OpenFor: time.Minute,
	}
}

// quickPage makes a page of few rounds.
func quickPage(t *testing.T, p Plan) (text []byte, passphrase string) {
	t.Helper()
	passphrase = Passphrase()
	text, err := makePage(p, passphrase, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return text, passphrase
}

// submit types a passphrase, and waits for the end of what follows.
func (p *tab) submit(passphrase string) {
	p.t.Helper()
	p.run(`document.getElementById("passphrase").focus()`, nil)
	p.do("Input.insertText", args{"text": passphrase}, nil)
	p.press("Enter", "\r")
	p.until(`document.getElementById("status").textContent && !document.getElementById("open").hasAttribute("aria-disabled")`)
}

func notFound(w http.ResponseWriter, _ *http.Request) { http.Error(w, "404 page not found", 404) }

// TestExchange: the page performs the exchange of each algorithm over each family, and
// shows what is open. It sends nothing to other servers.
func TestExchange(t *testing.T) {
	b := startBrowser(t)
	for name, c := range map[string]struct {
		host, address string
		algorithm     exchange.Algorithm
		random        bool
		requests      int
		shows         []string
	}{
		"IPv4": {"four.test", "127.0.0.1", exchange.NATAware, false, 1,
			[]string{"Service shop is open", "127.0.0.1", "left. Connections continue", "TCP port 8022", "IPv4 only", "198.51.100.7"}},
		"IPv6": {"six.test", "::1", exchange.NATAware, false, 1,
			[]string{"Service shop is open", "::1", "IPv6 only", "2001:db8::7"}},
		"mutual":      {"four.test", "127.0.0.1", exchange.Mutual, false, 1, []string{"Service shop is open"}},
		"mutual6":     {"six.test", "::1", exchange.Mutual, false, 1, []string{"Service shop is open"}},
		"random port": {"four.test", "127.0.0.1", exchange.Mutual, true, 1, []string{"one connection", "TCP port 4711"}},
		"unilateral":  {"four.test", "127.0.0.1", exchange.Unilateral, true, 1, []string{"may be open", "TCP port 4711", "next connection"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, c.address, c.algorithm, c.random, notFound)
			text, passphrase := quickPage(t, planFor(s, c.host))
			p := b.open(t)
			p.show(text)
			p.submit(strings.ToUpper(strings.ReplaceAll(passphrase, "-", " ")))
			shown := p.text("result")
			for _, want := range c.shows {
				if !strings.Contains(shown, want) {
					t.Errorf("%q is not in\n%s\n%s", want, p.text("status"), shown)
				}
			}
			proofs, requests := s.proved()
			if len(proofs) != 1 || requests != c.requests {
				t.Fatalf("%d proofs of %d requests", len(proofs), requests)
			}
			if c.algorithm != exchange.Unilateral && proofs[0].Client() != netip.MustParseAddr(c.address) {
				t.Errorf("for %s", proofs[0].Client())
			}
			p.quiet(s.url(c.host))
		})
	}
}

// TestWithoutForms: the web server before this one takes no forms, and passes on only a GET
// of numbers.
func TestWithoutForms(t *testing.T) {
	b := startBrowser(t)
	s := newServer(t, "127.0.0.1", exchange.Mutual, false, notFound)
	whole, page, gets := s.Config.Handler, regexp.MustCompile(`^(/[0-9]+)+[.]html$`), atomic.Int32{}
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		case page.MatchString(r.URL.Path):
			gets.Add(1)
			whole.ServeHTTP(w, r)
		default:
			notFound(w, r)
		}
	})
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	p := b.open(t)
	p.show(text)
	p.submit(passphrase)
	if shown := p.text("result"); !strings.Contains(shown, "Service shop is open") {
		t.Errorf("%s\n%s", p.text("status"), shown)
	}
	if proofs, requests := s.proved(); len(proofs) != 1 || requests != 1 || gets.Load() != 2 {
		t.Errorf("%d proofs of %d requests, and %d pages", len(proofs), requests, gets.Load())
	}
}

// quiet fails if the page made other requests than POSTs to the server, or errors.
func (p *tab) quiet(server string) {
	p.t.Helper()
	p.quietExcept(server, "")
}

// quietExcept is quiet that expects problems with a text.
func (p *tab) quietExcept(server, expected string) {
	p.t.Helper()
	p.seen.Lock()
	defer p.seen.Unlock()
	for _, r := range p.requests {
		if !strings.HasPrefix(r, "GET file://") && !strings.HasPrefix(r, "GET data:") && r != "POST "+server+"/" {
			p.t.Errorf("the page sent %s", r)
		}
	}
	for _, text := range p.problems {
		if expected != "" && strings.Contains(text, expected) {
			continue
		}
		p.t.Errorf("the browser reports %s", text)
	}
}

// TestWrongPassphrase: the page sends nothing, and lets people try again.
func TestWrongPassphrase(t *testing.T) {
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	passphrase := Passphrase()
	text, err := Make(planFor(s, "four.test"), passphrase)
	if err != nil {
		t.Fatal(err)
	}
	p := startBrowser(t).open(t)
	p.show(text)
	p.submit(Passphrase())
	if got := p.text("status"); got != "This passphrase is wrong. The page has sent nothing." {
		t.Errorf("the page shows %q", got)
	}
	if _, requests := s.proved(); requests != 0 {
		t.Errorf("%d requests", requests)
	}
	var focus string
	if p.run("document.activeElement.id", &focus); focus != "passphrase" {
		t.Errorf("the focus is at %q", focus)
	}
	p.submit(passphrase)
	if proofs, _ := s.proved(); len(proofs) != 1 {
		t.Errorf("the right passphrase opened nothing: %s", p.text("status"))
	}
	p.quiet(s.url("four.test"))
}
