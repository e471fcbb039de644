package client

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestExchangeFamilies: a profile whose encodings fit IPv4 only is valid, and the
// client does not use the server's IPv6 addresses. Shared ports are valid if the
// profile permits them.
func TestExchangeFamilies(t *testing.T) {
	o, err := exchange.NewOperation("0123456789", "secret", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	e := challenge.Encoding{Scheme: challenge.Sequence, Base: 1, DataBits: 12, SequenceBits: 4}
	c := Challenge{Operation: o, Request: e, Response: e}
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("shared ports without the key: %v", err)
	}
	c.SharedPorts = true
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	four, six := target{knock: netip.MustParseAddr("192.0.2.1")}, target{knock: netip.MustParseAddr("2001:db8::1")}
	x := &exchanging{cfg: ExchangeConfig{Challenge: c}, by: CarrierPackets}
	if got, err := x.reachable([]target{six, four}); err != nil || len(got) != 1 || got[0].knock != four.knock {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := x.reachable([]target{six}); err == nil || !strings.Contains(err.Error(), "2001:db8::1: request: ") {
		t.Errorf("IPv6 only: %v", err)
	}
	var family *FamilyError
	_, err = Exchange(t.Context(), ExchangeConfig{Server: "2001:db8::1", Challenge: c, Random: rand.Reader})
	if !errors.As(err, &family) || !strings.Contains(family.Hint(), "IPv4") {
		t.Errorf("IPv6 only: %v", err)
	}
	c.AnswerPort = 65534
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "answer_port 65534") {
		t.Errorf("a port of challenges that is one of responses: %v", err)
	}
	if c.AnswerPort = 65535; c.Check() != nil {
		t.Error(c.Check())
	}
	if got := c.ports(); got != "TCP to ports 1 and above, and to port 65535" {
		t.Error(got)
	}
	c.Request.DataBits, c.Response.DataBits = 3, 3
	if err := c.Check(); err == nil {
		t.Error("a profile that fits no family is valid")
	}
}
