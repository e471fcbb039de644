package page

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"sallyport/ingest/web"
	"sallyport/ingest/web/webtest"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// TestBehindRecipes: behind nginx and Caddy, with their recipes, a page that is a file of
// the site, and one that is a file of the device, open the service for the browser's
// address.
func TestBehindRecipes(t *testing.T) {
	b := startBrowser(t)
	for name, run := range map[string]func(webtest.Front, *testing.T) netip.AddrPort{
		"nginx": webtest.Front.Nginx, "Caddy": webtest.Front.Caddy,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, root := newUpstream(t), t.TempDir()
			certificate(t, root, "six.test")
			front := webtest.Front{
				Recipes: "../../../../container", Upstream: s.Listener.Addr().String(), Root: root, Host: "six.test", App: "127.0.0.1:1",
				Address: netip.IPv6Loopback(), Cert: filepath.Join(root, "cert.pem"), Key: filepath.Join(root, "key.pem"),
			}
			origin := fmt.Sprintf("https://six.test:%d", run(front, t).Port())
			plan := planFor(s, "six.test")
			plan.URL = origin
			text, passphrase := quickPage(t, plan)
			file := Name() + Extension
			if err := os.WriteFile(filepath.Join(root, file), text, 0o644); err != nil {
				t.Fatal(err)
			}
			p := b.open(t)
			for i, load := range []func(){func() { p.visit(origin + "/" + file) }, func() { p.show(text) }} {
				load()
				p.submit(passphrase)
				if got := p.text("outcome"); got != "Service shop is open" {
					t.Errorf("the page shows %q, %q", got, p.text("status"))
				}
				if proofs, _ := s.proved(); len(proofs) != i+1 || proofs[i].Client() != netip.IPv6Loopback() {
					t.Errorf("proofs: %v", proofs)
				}
			}
		})
	}
}

// newUpstream starts a server for a reverse proxy, which is trusted.
func newUpstream(t *testing.T) *server {
	t.Helper()
	o, err := exchange.NewOperation(testID, testSecret, exchange.Mutual, false)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{operation: o, waiting: map[carrier.Exchange]*waiting{}}
	h, err := web.NewHTTP(web.HTTPConfig{
		Unproved: http.StatusMisdirectedRequest, Exchanges: s,
		Proxies: web.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Header: web.XForwardedFor},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}
