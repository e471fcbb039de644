package config

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// Fleet has the keys of the etcd that several servers share.
type Fleet struct {
	Name  string // of this server in the fleet
	Relay *Relay // nil: exchanges are not split over gateways
	// Etcd has the endpoints, files, user, password, prefix and timeout. Load reads the
	// password.
	Etcd cluster.Config
	// GatewayKeys: clients sign with a key for each gateway.
	GatewayKeys bool
	// Gateways are those of clients' profiles: names and servers. Empty: there is this server
	// only.
	Gateways []client.Gateway
	// Named are the gateways whatever clients sign with, for the profiles of operations.
	Named []client.Gateway
	// Split: the knocks of a sequence may go to several gateways.
	Split bool
	// ClientsKey seals the list of clients in etcd, if the clients are those of the fleet.
	// Load reads it from the file ClientsKeyPath.
	ClientsKey     roster.Key
	ClientsKeyPath string

	passwordFile, clientsKeyFile string
}

// maxGatewayName is the maximum length of the name of a server in a fleet.
const maxGatewayName = 64

// fleet checks the keys of [fleet].
func (r *raw) fleet(f *tomlfile.File, c *Config) error {
	if err := c.checkSpread(f); err != nil || !f.Has("fleet") {
		return err
	}
	in := r.Fleet
	dir := filepath.Dir(c.Path)
	path := func(text string) string { return resolveSecret(dir, text) }
	c.Fleet = &Fleet{Name: in.Name, passwordFile: in.PasswordFile, Etcd: cluster.Config{
		Endpoints: in.Endpoints, CA: path(in.CA), Certificate: path(in.Certificate), Key: path(in.Key),
		User: in.User, Prefix: in.Prefix, Timeout: duration(in.Timeout),
	}}
	switch {
	case in.Name == "":
		return f.Errorf("fleet.name", "got nothing")
	case len(in.Name) > maxGatewayName || strings.ContainsFunc(in.Name, notInName):
		return f.Errorf("fleet.name", "got %q", in.Name)
	case len(in.Endpoints) == 0:
		return f.Errorf("fleet.endpoints", "got none")
	case c.Relaxed:
		return f.Errorf("durability", "got \"relaxed\" with [fleet], which requires \"strict\"")
	case in.PasswordFile != "" && in.User == "":
		return f.Errorf("fleet.user", "got password_file without it")
	case (in.Certificate == "") != (in.Key == ""):
		return f.Errorf("fleet.key", "got one of certificate and key without the other")
	case in.Certificate == "" && (in.User != "") != (in.PasswordFile != ""):
		return f.Errorf("fleet.password_file", "got user without it, and without a certificate")
	}
	if err := c.Fleet.Etcd.Validate(); err != nil {
		key, _, _ := strings.Cut(err.Error(), ":")
		return f.Errorf("fleet."+key, "got %s", err)
	}
	if err := in.gateways(f, c.Fleet); err != nil {
		return err
	}
	return in.split(f, c)
}

// split checks the key of sequences that are split over gateways. All gateways must be
// known, since a part of another one would be refused.
func (in rawFleet) split(f *tomlfile.File, c *Config) error {
	switch {
	case !in.Split:
		return nil
	case !c.Fleet.GatewayKeys:
		return f.Errorf("fleet.split", "got true with client_keys = \"secret\": a knock that one gateway waits for would be valid at each other one")
	case len(in.Gateways) < 2:
		return f.Errorf("fleet.split", "got true with fewer than two gateways")
	case !c.Shares():
		return f.Errorf("fleet.split", "got true without a service with spread = \"all\": a split sequence completes at any of the gateways")
	}
	c.Fleet.Split = true
	return nil
}

// GatewayNames returns the names of Gateways.
func (fl *Fleet) GatewayNames() (names []string) {
	for _, g := range fl.Gateways {
		names = append(names, g.Name)
	}
	return names
}

// keysGateway is the value of client_keys with which there is a key for each gateway.
const keysGateway = "gateway"

// gateways checks the keys about the clients of several gateways.
func (in rawFleet) gateways(f *tomlfile.File, fleet *Fleet) error {
	fleet.GatewayKeys = in.ClientKeys == keysGateway
	if err := wire.CheckGateway(in.Name); err != nil {
		return f.Errorf("fleet.name", "got %q", in.Name)
	}
	own := len(in.Gateways) == 0
	for i, text := range in.Gateways {
		name, server, found := strings.Cut(text, "=")
		if !found {
			return f.Errorf("fleet.gateways", "got %q (entry %d)", text, i+1)
		}
		fleet.Gateways = append(fleet.Gateways, client.Gateway{Name: name, Server: server})
		own = own || name == in.Name
	}
	if i, err := client.CheckGateways(fleet.Gateways); err != nil {
		return f.Errorf("fleet.gateways", "got an invalid one (entry %d): %v", i+1, err)
	}
	if !own {
		return f.Errorf("fleet.gateways", "got none with the name %q of this server", in.Name)
	}
	fleet.Named = fleet.Gateways
	if !fleet.GatewayKeys {
		fleet.Gateways = nil // the profiles of clients name this server only
	}
	return nil
}

// checkSpread refuses services that cannot open at all servers of a fleet. A drawn port
// depends on the port secret, and a grant of another server does not name it.
func (c *Config) checkSpread(f *tomlfile.File) error {
	for i := range c.Services {
		key := fmt.Sprintf("service.%d.spread", i)
		switch s := &c.Services[i]; {
		case !s.Shared:
		case !f.Has("fleet"):
			return f.Errorf(key, "got \"all\" without [fleet]")
		case s.Rotates():
			return f.Errorf(key, "got \"all\" with port = \"rotate\", which requires \"local\"")
		}
	}
	return nil
}

// Shares reports whether some service opens at all servers of the fleet.
func (c *Config) Shares() bool {
	return slices.ContainsFunc(c.Services, func(s Service) bool { return s.Shared })
}

// ClientKey returns what a client with a secret signs with at this server.
func (c *Config) ClientKey(secret []byte) []byte {
	if c.Fleet == nil || !c.Fleet.GatewayKeys || len(secret) == 0 {
		return secret
	}
	key, _ := wire.GatewayKey(secret, c.Fleet.Name) // Parse has checked the name
	return key
}

// CertificateChain returns the certificates of this server for etcd, if they are
// readable, and their file.
func (f *Fleet) CertificateChain() (file string, chain []*x509.Certificate) {
	pair, err := f.Etcd.LoadCertificate()
	if err != nil {
		return f.Etcd.Certificate, nil
	}
	for _, der := range pair.Certificate {
		if x, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, x)
		}
	}
	return f.Etcd.Certificate, chain
}

// ReadEtcdPassword reads the password for etcd, for a command that needs no other secret.
func (c *Config) ReadEtcdPassword() (err error) {
	if c.Fleet == nil || c.Fleet.passwordFile == "" {
		return nil
	}
	c.Fleet.Etcd.Password, err = c.readSecret("fleet.password_file", "the password for etcd", "", c.Fleet.passwordFile)
	return err
}

// rawFleet is the [fleet] table.
type rawFleet struct {
	rawRelay
	Name         string   `toml:"name" expect:"the name of this server in the fleet: letters, digits, dots, hyphens and underscores, at most 64"`
	Endpoints    []string `toml:"endpoints" expect:"a list of 1 to 16 URLs such as \"https://etcd1.example:2379\""`
	CA           string   `toml:"ca" expect:"the path of a file with certificates"`
	Certificate  string   `toml:"certificate" expect:"the path of a file with a certificate, together with key"`
	Key          string   `toml:"key" expect:"the path of a file with the key of the certificate"`
	User         string   `toml:"user" expect:"the name of a user of etcd"`
	PasswordFile string   `toml:"password_file" expect:"the path of a file with the password of the user"`
	Prefix       string   `toml:"prefix" default:"/sallyport/" expect:"a text that ends with a slash, at most 128 bytes"`
	ClientKeys   string   `toml:"client_keys" default:"secret" oneof:"secret|gateway" expect:"\"secret\" or \"gateway\""`
	Gateways     []string `toml:"gateways" expect:"a list of 1 to 16 gateways as NAME=SERVER in quotes, such as [\"gateway1=gw1.example.org\", \"gateway2=gw2.example.org\"]"`
	Split        bool     `toml:"split" default:"false" expect:"true or false; true requires client_keys = \"gateway\", gateways with at least two entries, and a service with spread = \"all\""`
	// A reload reads the file again.
	ClientsKeyFile string `toml:"clients_key_file" default:"clients_key" reload:"live" expect:"the path of a file with the key of the list of clients; only with clients = \"fleet\""`
	Timeout        string `toml:"timeout" default:"2s" range:"100ms..10s" expect:"a duration from \"100ms\" to \"10s\""`
}
