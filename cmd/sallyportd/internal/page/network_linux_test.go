package page

import (
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// patience hands the ends of the page's waits for answers to the function end.
const patience = `{
	const wait = setTimeout, stop = clearTimeout, send = fetch, nothing = () => {};
	let end = nothing;
	window.setTimeout = (f, ms) => ms < 10000 ? wait(f, ms) : (end = f, 0);
	window.clearTimeout = (id) => id ? stop(id) : (end = nothing);
	// In a later task: the page has then begun to read the answer.
	window.fetch = async (...what) => {
		const r = await send(...what);
		wait(() => end(), 0);
		return r;
	};
	window.end = () => end();
}`

// TestStallingServer: the page waits for the whole of an answer only for a time, also if
// the server sends its head and a part of the body.
func TestStallingServer(t *testing.T) {
	b := startBrowser(t)
	for name, c := range map[string]struct {
		head, want string
		requests   int32 // a POST and a GET; with both families they would be four
	}{
		"in the body":     {"<!DOCTYPE html>\n", "does not offer to open", 2},
		"before the head": {"", "does not reach the server", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
			requests, over := atomic.Int32{}, make(chan bool)
			t.Cleanup(func() { close(over) })
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				w.Header().Set("Access-Control-Allow-Origin", "*")
				if c.head != "" {
					w.Write([]byte(c.head))
					w.(http.Flusher).Flush()
				}
				select {
				case <-r.Context().Done():
				case <-over:
				}
			})
			text, passphrase := quickPage(t, planFor(s, "four.test"))
			p := b.open(t)
			p.early(patience)
			if c.head == "" { // no fetch returns before its end
				p.early(`setInterval(() => end(), 50)`)
			}
			p.show(text)
			p.submit(passphrase)
			if got := p.text("status"); !strings.Contains(got, c.want) {
				t.Errorf("the page shows %q, want %q", got, c.want)
			}
			if n := requests.Load(); n > c.requests || c.head != "" && n != c.requests {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestRedirectedResponse: a response does not follow a redirection to another server.
func TestRedirectedResponse(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	other := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	whole, reached := s.Config.Handler, atomic.Int32{}
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, requests := s.proved(); requests > 0 {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			http.Redirect(w, r, other.url("four.test"), http.StatusTemporaryRedirect)
			return
		}
		whole.ServeHTTP(w, r)
	})
	other.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	p := b.open(t)
	p.show(text)
	p.submit(passphrase)
	if got := p.text("status"); !strings.Contains(got, "cannot see whether it has arrived") {
		t.Errorf("the page shows %q", got)
	}
	if reached.Load() > 0 {
		t.Error("another server was reached")
	}
}

// lastsAMinute is the time that is left of a minute, some seconds later.
var lastsAMinute = regexp.MustCompile(`^Until [^:]+:[^.]+: (1 minute|[0-9]+ seconds?) left[.]`)

// TestClocks: with a device's clock that is wrong, a page shows that this may be the
// reason, if the clock matters.
func TestClocks(t *testing.T) {
	b := startBrowser(t)
	const late = `{ const now = Date.now; Date.now = () => now() + 3600e3; }`
	for name, c := range map[string]struct {
		ages bool
		want string
	}{
		"requests age": {true, "The clock of this device must be right; it shows "},
		"they do not":  {false, "Service shop is open."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
			plan := planFor(s, "four.test")
			if c.ages { // the server knows no masks, as if they were those of another minute
				plan.Hop = new(schedule.HopKey)
			}
			text, passphrase := quickPage(t, plan)
			p := b.open(t)
			p.early(late)
			p.show(text)
			p.submit(passphrase)
			if got := p.text("status"); !strings.Contains(got, c.want) {
				t.Errorf("the page shows %q, want %q", got, c.want)
			}
			if shown := p.text("time"); !c.ages && !lastsAMinute.MatchString(shown) {
				t.Errorf("the page shows %q", shown)
			}
		})
	}
}

// TestOtherAnswers: what is no challenge opens nothing, and the page shows that.
func TestOtherAnswers(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	answer := atomic.Pointer[http.HandlerFunc]{}
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) })
	s.setSilent()
	text, passphrase := quickPage(t, planFor(s, "four.test"))
	p := b.open(t)
	p.show(text)
	login := "<!DOCTYPE html><title>Login</title><form method=post><input name=q><button>Continue</button></form>"
	for name, f := range map[string]http.HandlerFunc{
		"a login page": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(login)) },
		"a login page that can be read": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Write([]byte(login))
		},
		"a redirection to a login page": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://six.test/login", http.StatusFound)
		},
		"an error":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"no content": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"an empty challenge": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Write(carrier.AppendPage(nil, nil))
		},
	} {
		answer.Store(&f)
		p.submit(passphrase)
		want := "does not offer to open"
		if strings.Contains(name, "redirection") { // which looks as if nothing had answered
			want = "Some networks require a login first"
		}
		if got := p.text("status"); !strings.Contains(got, want) {
			t.Errorf("%s: the page shows %q", name, got)
		}
	}
	if proofs, _ := s.proved(); len(proofs) > 0 {
		t.Errorf("%d proofs", len(proofs))
	}
}
