package main

import (
	"context"
	"testing"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestSpreadExchanges: an exchange is spread over all gateways of a profile with split =
// true, unless the command line names one of them, or another way.
func TestSpreadExchanges(t *testing.T) {
	o, err := exchange.NewOperation("open-it", "the secret", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	encoding := challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 4}
	above := encoding
	above.Base = 22000
	p := client.Profile{
		Split: true, Gateways: []client.Gateway{{Name: "gw1", Server: "192.0.2.1"}, {Name: "gw2", Server: "192.0.2.2"}},
		Challenge: &client.Challenge{Operation: o, Request: encoding, Response: above, Service: ":8080"},
	}
	for name, row := range map[string]struct {
		o    knockOptions
		want int // the gateways of one exchange
	}{
		"all":         {knockOptions{}, 2},
		"one":         {knockOptions{gateway: "gw2"}, 0},
		"another way": {knockOptions{carrier: "https"}, 0},
	} {
		g, err := row.o.gatewaysOf(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		_, err = g.try(t.Context(), &row.o, func(ctx context.Context, o *knockOptions, p client.Profile) (client.Result, error) {
			calls++
			cfg, err := o.exchangeConfig(ctx, cli.Env{}, p, false, nil)
			if name != "another way" && (err != nil || len(cfg.Gateways) != row.want || cfg.Server == "") {
				t.Errorf("%s: %d gateways, server %q, %v", name, len(cfg.Gateways), cfg.Server, err)
			}
			return client.Result{Watched: true, Gateway: "gw2"}, nil
		})
		if err != nil || calls != 1 {
			t.Errorf("%s: %d turns, %v", name, calls, err)
		}
	}
}
