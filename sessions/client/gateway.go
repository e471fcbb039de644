package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"sallyport/verify/wire"
)

// MaxGateways is the maximum number of gateways of a profile.
const MaxGateways = 16

// Gateway is one of several servers at which a client may knock. Each has its own key,
// and so its own nonces (verify/wire, "Keys of gateways").
type Gateway struct {
	Name       string // as in the configuration of that server
	Server     string // as in Profile
	Addresses  []netip.Addr
	FirstNonce uint32 // as in Profile
	// KnockOnly: with Profile.Split, the gateway gets knocks, and does not have the service.
	KnockOnly bool
}

// CheckGateways returns an error if the gateways of a profile are not valid. Index is that
// of the first that is wrong.
func CheckGateways(all []Gateway) (index int, err error) {
	if len(all) > MaxGateways {
		return MaxGateways, fmt.Errorf("expected at most %d gateways, got %d", MaxGateways, len(all))
	}
	names := map[string]bool{}
	for i, g := range all {
		switch err := wire.CheckGateway(g.Name); {
		case err != nil:
			return i, err
		case names[g.Name]:
			return i, fmt.Errorf("the name %q occurs twice", g.Name)
		case !ValidHost(g.Server):
			return i, fmt.Errorf("expected the host name or address of the server of gateway %s, got %q", g.Name, g.Server)
		}
		if err := checkAddresses(g.Server, g.Addresses); err != nil {
			return i, fmt.Errorf("gateway %s: %w", g.Name, err)
		}
		names[g.Name] = true
	}
	return 0, nil
}

// AtGateways returns the profiles of the gateways, in their order: each has the server and
// the key of one, and names no gateway. All is the profile itself if it names none. A
// Signer signs once for all of them, and the result has no Signer. A profile without the
// sequence protocol has no keys. With Split, the profiles are those of Carriers.
func (p Profile) AtGateways(ctx context.Context) (all []Profile, err error) {
	if len(p.Gateways) == 0 {
		return []Profile{p}, nil
	}
	if _, err := CheckGateways(p.Gateways); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := p.checkSplit(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	messages := make([][]byte, len(p.Gateways))
	for i, g := range p.Gateways {
		messages[i] = wire.AppendGatewayMessage(nil, g.Name)
	}
	var macs []MAC
	if p.HasSequence() {
		if len(p.Secret) == 0 && p.Signer == nil {
			return nil, errors.New("profile: a secret is missing")
		}
		if macs, err = p.Sign(ctx, messages...); err != nil {
			var signing *SigningError
			if errors.As(err, &signing) {
				signing.unsent = true
			}
			return nil, err
		}
	}
	all = make([]Profile, len(p.Gateways))
	for i, g := range p.Gateways {
		one := p
		one.Gateways, one.Signer = nil, nil
		one.Server, one.Addresses, one.FirstNonce = g.Server, g.Addresses, g.FirstNonce
		if macs != nil {
			one.Secret = wire.GatewayKeyOf(macs[i])
		}
		all[i] = one
	}
	if p.Split && macs != nil {
		return p.splitOver(all), nil
	}
	return all, nil
}
