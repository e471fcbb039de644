package profilefile

import (
	"slices"

	"sallyport/sessions/client"
)

// FileGateway is a [[gateways]] table of a profile's file: one of several servers.
type FileGateway struct {
	Name      string   `toml:"name" json:"name" expect:"the name of the gateway in its configuration: letters, digits, dots, hyphens and underscores, at most 64"`
	Server    string   `toml:"server" json:"server" expect:"the host name or address of the gateway, without a port"`
	Addresses []string `toml:"addresses,omitempty" json:"addresses,omitempty" expect:"a list of at most 8 addresses of the gateway in quotes, such as [\"203.0.113.5\", \"2001:db8::5\"]"`
	// KnockOnly is for a gateway without the service, of a profile with Split.
	KnockOnly bool   `toml:"knock_only,omitempty" json:"knock_only,omitempty" expect:"true or false; true requires split = true, and another gateway without it"`
	Nonce     uint32 `toml:"nonce,omitempty" json:"nonce,omitempty" expect:"the first nonce of a device that has no record of nonces for this gateway, a whole number from 0 to 4294967295"`
}

// gateways reads the [[gateways]] tables. With them, there is no other server.
func (raw File) gateways(f Source) ([]client.Gateway, error) {
	if raw.Gateways == nil {
		return nil, nil
	}
	for _, key := range []string{"server", "addresses", "nonce"} {
		if f.Has(key) {
			return nil, f.Errorf(key, "got it, and also [[gateways]], each of which has one")
		}
	}
	if len(raw.Gateways) == 0 || len(raw.Gateways) > client.MaxGateways {
		return nil, f.Errorf("gateways", "got %d", len(raw.Gateways))
	}
	var all []client.Gateway
	for _, g := range raw.Gateways {
		addresses, err := client.ParseAddresses(g.Server, g.Addresses)
		if err != nil {
			return nil, f.Errorf("gateways", "%v, in gateway %q", err, g.Name)
		}
		all = append(all, client.Gateway{Name: g.Name, Server: g.Server, Addresses: addresses, FirstNonce: g.Nonce, KnockOnly: g.KnockOnly})
	}
	knockOnly := func(g client.Gateway) bool { return g.KnockOnly }
	if slices.ContainsFunc(all, knockOnly) && (!raw.Split || len(slices.DeleteFunc(slices.Clone(all), knockOnly)) == 0) {
		return nil, f.Errorf("gateways", "got knock_only = true without split = true, or for each of them")
	}
	if i, err := client.CheckGateways(all); err != nil {
		return nil, f.Errorf("gateways", "got an invalid one (number %d): %v", i+1, err)
	}
	return all, nil
}

// fileGateways is the reverse of gateways.
func fileGateways(all []client.Gateway) (list []FileGateway) {
	for _, g := range all {
		list = append(list, FileGateway{Name: g.Name, Server: g.Server, Addresses: addressTexts(g.Addresses), Nonce: g.FirstNonce, KnockOnly: g.KnockOnly})
	}
	return list
}
