package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A profile with Split sends the knocks of a sequence to several gateways, from one socket
// with one source address: knock i to gateway i modulo their number, signed with the key for
// that gateway. Then it watches the service at one of the gateways that have it. All knocks
// of an attempt have the same base, so the nonces of all gateways are one record: that of
// the secret from which their keys are made.

// split is what a gateway's profile knows of the others.
type split struct {
	root     Signer // signs with the secret from which the keys are made
	gateways []splitGateway
	own      int // which of them is the profile's
}

type splitGateway struct {
	Gateway
	key []byte
}

// Carriers returns the gateways to which the client connects: with Split, those that are not
// KnockOnly, and otherwise all.
func (p Profile) Carriers() []Gateway {
	if !p.Split || !p.HasSequence() {
		return p.Gateways
	}
	return slices.DeleteFunc(slices.Clone(p.Gateways), func(g Gateway) bool { return g.KnockOnly })
}

// checkSplit returns an error if Split and KnockOnly do not fit the gateways.
func (p Profile) checkSplit() error {
	switch knockOnly := slices.ContainsFunc(p.Gateways, func(g Gateway) bool { return g.KnockOnly }); {
	case !p.Split && knockOnly:
		return errors.New("a gateway gets knocks only, but the sequences are not split")
	case p.Split && len(p.Gateways) < 2:
		return errors.New("sequences are split over at least two gateways")
	case p.Split && len(p.Carriers()) == 0:
		return errors.New("each gateway gets knocks only, and none has the service")
	}
	return nil
}

// splitOver returns the profiles of the carriers, of those of all gateways.
func (p Profile) splitOver(all []Profile) (carriers []Profile) {
	var root Signer = SecretSigner(p.Secret)
	if p.Signer != nil {
		root = p.Signer
	}
	list := make([]splitGateway, len(all))
	first := uint32(0)
	for i, one := range all {
		list[i] = splitGateway{p.Gateways[i], one.Secret}
		first = max(first, one.FirstNonce)
	}
	for i, one := range all {
		if p.Gateways[i].KnockOnly {
			continue
		}
		one.FirstNonce = first
		one.split = &split{root, list, i}
		carriers = append(carriers, one)
	}
	return carriers
}

// SignNonces returns the MAC of a message under the secret whose nonces the profile uses:
// with Split, that from which the keys of the gateways are made.
func (p Profile) SignNonces(ctx context.Context, message []byte) (MAC, error) {
	if p.split != nil {
		p.Signer, p.split = p.split.root, nil
	}
	macs, err := p.Sign(ctx, message)
	if err != nil {
		return MAC{}, err
	}
	return macs[0], nil
}

// sign returns the MACs of the messages of n knocks, and then of those that the secret
// itself signs.
func (s *split) sign(ctx context.Context, p Profile, n int, messages [][]byte) ([]MAC, error) {
	macs := make([]MAC, 0, len(messages))
	for i, m := range messages[:n] {
		mac, err := SecretSigner(s.gateways[i%len(s.gateways)].key).Sign(ctx, m)
		if err != nil {
			return nil, err
		}
		macs = append(macs, mac...)
	}
	for _, m := range messages[n:] {
		mac, err := p.SignNonces(ctx, m)
		if err != nil {
			return nil, err
		}
		macs = append(macs, mac)
	}
	return macs, nil
}

// names returns the names of the gateways.
func (s *split) names() string {
	var names []string
	for _, g := range s.gateways {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}

// resolve returns the addresses of each gateway.
func (s *split) resolve(ctx context.Context, family Family, nonces NonceFile) ([][]netip.Addr, error) {
	all := make([][]netip.Addr, len(s.gateways))
	for i, g := range s.gateways {
		list := named(g.Server, g.Addresses, family)
		if len(list) == 0 {
			var err error
			if list, err = lookup(ctx, g.Server, family); err != nil {
				if list = known(nonces.rememberedAddresses(g.Server), family); len(list) == 0 {
					return nil, err
				}
			}
		}
		all[i] = list
	}
	return all, nil
}

// to returns the address of each gateway for a sequence to one of them: those of its family.
func (k *knocking) to(t target) (list []netip.Addr, err error) {
	s := k.cfg.Profile.split
	if s == nil || k.cfg.closes {
		return nil, nil
	}
	for i, g := range s.gateways {
		at := t.knock
		if i != s.own {
			same := slices.IndexFunc(k.split[i], func(a netip.Addr) bool { return a.Is4() == t.knock.Is4() })
			if same < 0 {
				return nil, &sendError{fmt.Errorf("gateway %s has no address of the family of %s", g.Name, t.knock)}
			}
			at = k.split[i][same]
		}
		list = append(list, at)
	}
	return list, nil
}

// direct sends each knock of a split sequence to its gateway.
func (k *knocking) direct(s *signed, tr *trial) {
	if len(s.to) == 0 {
		return
	}
	tr.gateways = map[uint16]string{}
	for i := range s.knocks {
		at := i % len(s.to)
		s.knocks[i].Address = s.to[at]
		tr.gateways[s.knocks[i].Port] = k.cfg.Profile.split.gateways[at].Name
	}
}

// explain adds what is known of the gateways to a diagnosis: one that does not get its
// knocks is enough for a failure.
func (s *split) explain(d *diagnosis, rejected map[string]int) {
	for _, g := range s.gateways {
		if n := rejected[g.Name]; n > 0 {
			d.see("ICMP errors came for %d knocks to gateway %s", n, g.Name)
			d.likely = slices.Insert(d.likely, 0, "gateway "+g.Name+" is down, and each gateway has to get its knocks")
		}
	}
	if len(rejected) == 0 {
		d.conclude("one of the gateways %s did not get its knocks: all of them have to be up, and reachable from here", s.names())
	}
}
