package page

import (
	"strings"
	"testing"

	"sallyport/verify/challenge/exchange"
)

// TestScreenReader: the page's parts, and those of the result, have names in the tree for
// screen readers.
func TestScreenReader(t *testing.T) {
	t.Parallel()
	s := newServer(t, "127.0.0.1", exchange.NATAware, false, notFound)
	plan := planFor(s, "four.test")
	plan.Scheme = "http"
	text, passphrase := quickPage(t, plan)
	p := startBrowser(t).open(t)
	p.show(text)
	p.named("textbox: Passphrase", "checkbox: Show the passphrase", "button: Open", "heading: Open a service", "main: ")
	p.submit(Passphrase())
	var described string
	if p.run(`document.getElementById(document.activeElement.getAttribute("aria-describedby")).textContent`, &described); !strings.HasPrefix(described, "This passphrase is wrong") {
		t.Errorf("the field is described by %q", described)
	}
	p.submit(passphrase)
	p.named("region: Service shop is open", "heading: Service shop is open", "link: http://shop.test:8022/", "status: ", "timer: ")
}

// named fails unless the tree for screen readers has elements, as "role: name".
func (p *tab) named(want ...string) {
	p.t.Helper()
	type value struct{ Value any }
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name value
		}
	}
	p.do("Accessibility.getFullAXTree", args{}, &tree)
	all := map[string]bool{}
	for _, n := range tree.Nodes {
		role, _ := n.Role.Value.(string)
		name, _ := n.Name.Value.(string)
		all[role+": "+name] = all[role+": "+name] || !n.Ignored
	}
	for _, w := range want {
		if !all[w] {
			p.t.Errorf("%q is not in %v", w, all)
		}
	}
}
