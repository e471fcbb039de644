package main

import (
	"bytes"
	"fmt"
	"slices"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
)

// withClient returns the profile of an operation, text, together with that of the client
// that owns it: one profile for both protocols, which proves connections.
func (m profileMaker) withClient(id string, text []byte) ([]byte, error) {
	o := m.cfg.Operations[slices.IndexFunc(m.cfg.Operations, func(o config.Operation) bool { return o.ID == id })]
	if o.Client == "" {
		return nil, cli.WithHint(fmt.Errorf("--with-client: operation %q belongs to no client", id), "omit the flag; or set client of the operation")
	}
	at := slices.IndexFunc(m.list, func(c clients.Client) bool { return c.Identifier.String() == o.Client })
	if at < 0 {
		return nil, cli.WithHint(fmt.Errorf("--with-client: there is no client %s in %s", o.Client, m.cfg.ClientsPlace()), "sallyportd client list")
	}
	c := m.list[at]
	watched := observableService(m.cfg, c)
	if s := m.cfg.Service(o.Service); s != nil && mayOpen(c, s) && s.ProfileService() != "" {
		watched = s
	}
	keys, err := m.clientFor(c, watched)
	if err != nil {
		return nil, err
	}
	_, tables, _ := bytes.Cut(text, []byte("[challenge]"))
	text = slices.Concat(keys, []byte("\n[challenge]"), tables)
	return text, checkProfile(text)
}
