package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/page"
	"sallyport/verify/schedule"
)

// page returns the plan of an operation's page.
func (m profileMaker) page(id, url string) (p page.Plan, err error) {
	i := slices.IndexFunc(m.cfg.Operations, func(o config.Operation) bool { return o.ID == id })
	if i < 0 {
		return p, noOperation(m.cfg, id)
	}
	o := m.cfg.Operations[i]
	if o.Secret == "" {
		return p, cli.WithHint(fmt.Errorf("operation %s has no secret: a page can use no public keys", id),
			"add an operation with a secret for pages")
	}
	s := m.cfg.Service(o.Service)
	if bind := s.ProfileBind(); !o.Close && !o.RandomPort && (s.RequireISN || s.Proves) {
		return p, cli.WithHint(fmt.Errorf("service %s has bind = %q: a browser cannot make its connections", s.Name, bind),
			"use the operation's profile, or an operation for another service")
	}
	p = page.Plan{
		URL: url, ID: o.ID, Secret: o.Secret, Algorithm: o.Algorithm, RandomPort: o.RandomPort, Close: o.Close,
		Service: s.Name, Host: m.server, UDP: s.UDP, Scheme: s.Scheme(),
		OpenFor: cmp.Or(o.OpenFor, s.Policy.OpenFor), Cut: s.Policy.Cut, Anyone: s.Policy.Anyone, Uses: o.Uses,
	}
	p.Public4, p.Public6 = m.cfg.ReachedAt(hostAddresses())
	if m.cfg.Challenge.Plan.Hop != 0 {
		key := schedule.HopKeyOf(m.cfg.PortSecret.Current)
		p.Hop = &key
	}
	if !o.RandomPort && !s.Rotates() && s.HasPort() {
		p.Port = s.Port()
	}
	if o.UntilClosed || o.Close {
		p.OpenFor = 0
	}
	i = slices.IndexFunc(m.list, func(c clients.Client) bool { return c.Identifier.String() == o.Client })
	if i >= 0 {
		p.Expires = m.list[i].Expires
	}
	return p, nil
}

// explainPage adds what to do to an error of a page.
func explainPage(err error) error {
	switch {
	case errors.Is(err, page.ErrNoAddress):
		return cli.WithHint(err, "set public_address in [challenge]")
	case errors.Is(err, page.ErrOwnAddress):
		return cli.WithHint(err, "set algorithm = 2 or 3, or port = \"random\", for the operation")
	}
	return fmt.Errorf("make the page: %w", err)
}
