package config

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestResolveListen: a host name stands for all its addresses. A name that does not
// resolve, or resolves to an address that a server must not bind by a name, is an error
// that names the key. Until then, no socket can bind the entry.
func TestResolveListen(t *testing.T) {
	names := map[string]string{
		"gate": "2001:db8::1 192.0.2.1", "again": "::ffff:192.0.2.1", "group": "224.0.0.1", "all": "0.0.0.0", "own": "127.0.1.1",
	}
	find := func(_ context.Context, network, host string) (found []netip.Addr, err error) {
		if names[host] == "" || network != "ip" {
			return nil, errors.New("no such host")
		}
		for _, a := range strings.Fields(names[host]) {
			found = append(found, netip.MustParseAddr(a))
		}
		return found, nil
	}
	for listen, want := range map[string]string{
		`"gate"`:                        "[192.0.2.1 2001:db8::1]",
		`"198.51.100.1", "gate", "own"`: "[198.51.100.1 192.0.2.1 2001:db8::1 127.0.1.1]",
		`"gate", "again", "192.0.2.1"`:  "[192.0.2.1 2001:db8::1]",
		`"::"`:                          "[::]",
		`"missing"`:                     `c.toml:1: listen: expected a list of IP addresses or host names in quotes, such as ["0.0.0.0", "::"], got the host name "missing", which does not resolve: no such host`,
		`"group"`:                       `got the host name "group", which resolves to 224.0.0.1, a multicast address`,
		`"all"`:                         `got the host name "all", which resolves to 0.0.0.0, which stands for all addresses`,
	} {
		c, err := Parse("c.toml", []byte("listen = ["+listen+"]\n"+minimal))
		if err != nil {
			t.Fatalf("%s: %v", listen, err)
		}
		for _, a := range c.Listen {
			if strings.Contains(listen, "missing") && a.IsValid() {
				t.Errorf("%s: a name is bound as %s before it is resolved", listen, a)
			}
		}
		got := ""
		if err := c.resolveListen(t.Context(), find); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(c.Listen)
		}
		if !strings.HasSuffix(got, want) {
			t.Errorf("%s: got  %s\nwant %s", listen, got, want)
		}
	}
}
