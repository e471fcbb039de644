package main

import (
	"strings"
	"testing"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
	"sallyport/verify/challenge/exchange"
)

// TestElseExchange: a carrier that cannot open what the knocks open is no reason to refuse
// them.
func TestElseExchange(t *testing.T) {
	o, err := exchange.DescribeOperation("web-alice", exchange.Mutual, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for name, c := range map[string]struct {
		profile client.Profile
		keep    bool
		want    bool
	}{
		"an address by HTTPS":   {client.Profile{Challenge: &client.Challenge{Operation: o, HTTPS: "https://www.example.org", Service: ":22"}}, true, true},
		"an address by DNS":     {client.Profile{Challenge: &client.Challenge{Operation: o, DNS: "k.example.org", Service: ":22"}}, false, false},
		"a number, by HTTPS":    {client.Profile{Service: ":22", Bind: client.BindISN, Challenge: &client.Challenge{Operation: o, HTTPS: "https://www.example.org"}}, true, false},
		"no carrier of the web": {client.Profile{Challenge: &client.Challenge{Operation: o, Service: ":22"}}, false, false},
	} {
		options := knockOptions{carrier: carrierAuto}
		got, err := options.elseExchange(t.Context(), cli.Env{}, c.profile, c.keep)
		if err != nil || (got != nil) != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestNoTunnelWithFdpass: the descriptor of a tunnel cannot be passed, so connect does not
// open one, for which it would have used an exchange up.
func TestNoTunnelWithFdpass(t *testing.T) {
	o, err := exchange.DescribeOperation("web-alice", exchange.Mutual, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	p := client.Profile{Challenge: &client.Challenge{Operation: o, HTTPS: "https://www.example.org", Service: ":22", Tunnel: true}}
	for _, direct := range []bool{false, true} {
		options := knockOptions{carrier: carrierAuto, direct: direct}
		cfg, err := options.exchangeConfig(t.Context(), cli.Env{}, p, true, nil)
		if err != nil || (cfg.Tunnel == nil) != direct {
			t.Errorf("direct %t: %+v, %v", direct, cfg, err)
		}
		shown := cli.Explain(options.adviseTunnel(p, &client.OfflineError{})).Hint
		if strings.Contains(shown, "omit --fdpass") != direct {
			t.Errorf("direct %t: %s", direct, shown)
		}
	}
}
