package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestSpreadOver: each packet goes to its gateway, each gateway gets one, and no gateway
// gets more than its part, unless there are fewer packets than gateways. Sent twice, each
// packet arrives although one gateway is down.
func TestSpreadOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(1, 60).Draw(t, "packets"), rapid.IntRange(2, MaxGateways).Draw(t, "gateways")
		count := make([]int, k)
		for i := range n {
			once, twice := spreadOver(i, n, k, false), spreadOver(i, n, k, true)
			if once[0] != i%k || !slices.Equal(twice[:len(once)], once) {
				t.Fatalf("packet %d: %v, %v", i, once, twice)
			}
			for _, to := range once {
				count[to]++
			}
			for down := range k {
				if len(slices.DeleteFunc(slices.Clone(twice), func(to int) bool { return to == down })) == 0 {
					t.Fatalf("packet %d is lost with gateway %d", i, down)
				}
			}
		}
		most := (n + k - 1) / k
		if slices.Min(count) < 1 || slices.Max(count) > most {
			t.Fatalf("%v", count)
		}
	})
}

// splitConfig is the configuration of an exchange without a server.
func splitConfig(o *exchange.Operation) ExchangeConfig {
	request := challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 4}
	response := challenge.Encoding{Scheme: challenge.Ranges, Base: 21200, DataBits: 4}
	return ExchangeConfig{
		Challenge: Challenge{Operation: o, Request: request, Response: response, Service: ":8080"}, Timeout: time.Minute, Random: rand.Reader,
	}
}

func spreadConfig(t *testing.T, o *exchange.Operation, servers ...string) ExchangeConfig {
	t.Helper()
	cfg := splitConfig(o)
	for i, s := range servers {
		cfg.Gateways = append(cfg.Gateways, Gateway{Name: string(rune('a' + i)), Server: s})
	}
	return cfg
}

// TestSpreadRefuses: gateways without a family in common, or a configuration with which the
// gateways could not answer, are an error before anything is sent.
func TestSpreadRefuses(t *testing.T) {
	o, err := exchange.NewOperation("open-it", "the secret", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Exchange(context.Background(), spreadConfig(t, o, "127.0.0.1", "::1"))
	if none := (*NoCommonFamilyError)(nil); !errors.As(err, &none) || !strings.Contains(none.Hint(), "--gateway") {
		t.Errorf("no common family: %v", err)
	}
	cfg := spreadConfig(t, o, "127.0.0.1", "127.0.0.2")
	cfg.Challenge.AnswerPort = 30720
	_, err = Exchange(context.Background(), cfg)
	if err == nil || !strings.Contains(err.Error(), `transport = "tcp"`) {
		t.Errorf("over TCP: %v", err)
	}
	cfg = spreadConfig(t, o, "127.0.0.1", "127.0.0.1", "127.0.0.2")
	cfg.Gateways[2].Name = "a"
	if _, err := Exchange(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "occurs twice") {
		t.Errorf("two of one name: %v", err)
	}
}

// TestSpreads: which profiles spread exchanges.
func TestSpreads(t *testing.T) {
	o, err := exchange.NewOperation("open-it", "the secret", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	c := splitConfig(o).Challenge
	two := []Gateway{{Name: "a", Server: "192.0.2.1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, {Name: "b", Server: "192.0.2.2"}}
	knockOnly := slices.Clone(two)
	knockOnly[1].KnockOnly = true
	tcp, proves := c, c
	tcp.AnswerPort, proves.Bind = 1, BindConnection
	for name, row := range map[string]struct {
		p    Profile
		want bool
	}{
		"split":        {Profile{Split: true, Gateways: two, Challenge: &c}, true},
		"not split":    {Profile{Gateways: two, Challenge: &c}, false},
		"knock only":   {Profile{Split: true, Gateways: knockOnly, Challenge: &c}, false},
		"one gateway":  {Profile{Split: true, Gateways: two[:1], Challenge: &c}, false},
		"no challenge": {Profile{Split: true, Gateways: two}, false},
		"over TCP":     {Profile{Split: true, Gateways: two, Challenge: &tcp}, false},
		"proves":       {Profile{Split: true, Gateways: two, Challenge: &proves}, false},
	} {
		if got := row.p.Spreads(); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
