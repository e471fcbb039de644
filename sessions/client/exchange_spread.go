package client

import (
	"context"
	"errors"
	"net/netip"
	"slices"
)

// This file spreads the packets of one exchange over several gateways, which hand them to
// each other. One of them sends the challenge, and its service opens. The rules are in
// sessions/fleet/relay/RELAY.md.

// Spreads reports whether exchanges of the profile are spread over its gateways. With
// packets over TCP, connections that prove themselves, or gateways without the service, each
// exchange is with one gateway.
func (p Profile) Spreads() bool {
	c := p.Challenge
	knockOnly := slices.ContainsFunc(p.Gateways, func(g Gateway) bool { return g.KnockOnly })
	return p.Split && len(p.Gateways) > 1 && !knockOnly && c != nil && c.HasPackets() && c.AnswerPort == 0 && c.Bind != BindConnection
}

// checkSpread returns an error if an exchange cannot be spread over the gateways.
func (cfg *ExchangeConfig) checkSpread() error {
	if len(cfg.Gateways) == 0 {
		return nil
	}
	if _, err := CheckGateways(cfg.Gateways); err != nil {
		return err
	}
	switch c := cfg.Challenge; {
	case c.AnswerPort != 0:
		return errors.New("expected exchanges over UDP to spread them over gateways, got transport = \"tcp\"")
	case c.Bind == BindConnection:
		return errors.New("expected no connections that prove themselves to spread exchanges over gateways, got bind = \"connection\"")
	}
	return nil
}

// resolveGateways finds the addresses of all gateways. The packets of an exchange go to
// addresses of one family.
func (x *exchanging) resolveGateways(ctx context.Context, service string) error {
	var all [2][]target // by family: an address of each gateway that has one
	first := 0
	for i, g := range x.cfg.Gateways {
		targets, err := resolve(ctx, Profile{Server: g.Server, Addresses: g.Addresses, Service: service}, x.cfg.Family, func() []netip.Addr { return nil })
		if err != nil {
			return err
		}
		if i == 0 {
			first = familyOf(targets[0].knock)
		}
		for _, t := range targets {
			if of := &all[familyOf(t.knock)]; len(*of) == i {
				*of = append(*of, t)
			}
		}
	}
	x.spread = map[netip.Addr][]target{}
	for i := range all {
		list := all[(first+i)%len(all)]
		if len(list) == len(x.cfg.Gateways) {
			x.targets = append(x.targets, list[0])
			x.spread[list[0].knock] = list
		}
	}
	if len(x.targets) == 0 {
		return &NoCommonFamilyError{}
	}
	var err error
	if x.targets, err = x.reachable(x.targets); err != nil {
		return err
	}
	for _, t := range x.targets {
		for i, g := range x.cfg.Gateways {
			x.cfg.Report(resolved(g.Server, x.spread[t.knock][i:i+1]))
		}
	}
	return nil
}

// NoCommonFamilyError is the error of gateways that have no address family in common.
type NoCommonFamilyError struct{}

func (*NoCommonFamilyError) Error() string {
	return "expected addresses of one family, IPv4 or IPv6, of all gateways of the profile, got none that all have"
}

// Hint returns what to do.
func (*NoCommonFamilyError) Hint() string {
	return "omit -4 or -6; or use one gateway: --gateway NAME"
}

// newSpreadConn opens the socket of an exchange with several gateways. From the second
// attempt on, each packet goes to two of them, so that one may be down.
func newSpreadConn(list []target, attempt int) (*exchangeConn, error) {
	s, err := newExchangeConn(list[0].knock)
	if err != nil {
		return nil, err
	}
	for _, t := range list[1:] {
		s.servers = append(s.servers, t.knock)
	}
	s.twice = attempt > 1
	return s, nil
}

// spreadOver returns to which of k gateways packet i of n goes, one after the other.
func spreadOver(i, n, k int, twice bool) (all []int) {
	all = append(all, i%k)
	for to := i + n; to < k; to += n {
		all = append(all, to) // each gateway gets a packet
	}
	if next := (i + 1) % k; twice && next != i%k {
		all = append(all, next)
	}
	return all
}

// settle makes the gateway that has sent the challenge the target of a request.
func (x *exchanging) settle(r *request) {
	for _, t := range x.spread[r.asked.knock] {
		if t.knock.WithZone("") == r.answer.Server {
			r.target = t
		}
	}
}

// gatewayAt returns the name of the gateway that has sent the challenge; empty: the
// exchange is with one server.
func (x *exchanging) gatewayAt(r *request) string {
	for i, t := range x.spread[r.asked.knock] {
		if t == r.target {
			return x.cfg.Gateways[i].Name
		}
	}
	return ""
}

// explainSpread explains what several gateways have to do with a request without a
// challenge.
func (cfg ExchangeConfig) explainSpread(d *diagnosis) {
	if len(cfg.Gateways) > 0 {
		d.conclude("two of the %d gateways do not run, or one does and the others do not relay to it: try one of them with --gateway, such as %s", len(cfg.Gateways), cfg.Gateways[0].Name)
	}
}
