package config

import (
	"log/slog"
	"net/netip"
	"time"

	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/ingest/udp"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

// Config is a validated configuration, with all defaults filled in. It is
// immutable.
type Config struct {
	Path   string        // of the file; the other paths are already resolved against its directory
	Server string        // the name or address by which clients reach the server; empty: not set
	Listen udp.Addresses // complete after ResolveListen

	Ports      int // the number of knocks of a sequence
	Generator  schedule.Generator
	PortSecret PortSecret
	Tolerance  time.Duration // how far a client's clock may differ

	Readers       int // the number of threads; 0: one for each processor
	ReceiveBuffer int // of each socket, in bytes; 0: the kernel's default
	Queue         int // of each thread: how many datagrams may wait for the checks
	KernelFilter  bool
	SelfTest      bool
	ResumeLeases  bool
	Shield        *Shield // nil: the shield is off

	Services   []Service
	Challenge  *Challenge // nil: the challenge–response protocol is off
	Operations []Operation
	Fleet      *Fleet // nil: this server shares its record with no other

	// ClientsPath is the clients file. With FleetClients, it is this gateway's copy of the
	// list in etcd, which the server writes.
	ClientsPath  string
	FleetClients bool // the list of clients is that of the fleet
	// ClientsSettle is how long the clients file must remain unchanged before the
	// server revokes the leases of clients that are missing in it.
	ClientsSettle time.Duration
	StateDir      string
	Relaxed       bool // a grant takes effect before its nonces are on disk
	AdminSocket   string
	MetricsListen netip.AddrPort // where the metrics are served, on the loopback; invalid: only at the admin socket
	// FirewallSocket is the socket of a holder that runs independently of the
	// server, if there is one.
	FirewallSocket string

	SecretFiles   secretfile.Rules // the users that may read the files with secrets
	User          string           // to which the server switches; empty: none
	Stealth       bool             // no UDP port replies to unsolicited packets
	StealthExcept []uint16         // UDP ports that stealth excludes
	ClearOnExit   bool             // the firewall's table is removed when its holder stops in order

	LogLevel slog.Level
	// LogFormat is how the processes write their logs: auto, text or json.
	LogFormat string

	listenNames []string // the host names in "listen", until ResolveListen

	opened opened // see Files

	file  *tomlfile.File // for errors: the lines of the keys
	fixed []setting
	keys  map[string]digest // of all keys, by their names for people
}

// PortSecret is the secret from which the ports are derived, as text.
type PortSecret struct {
	Current string
	Path    string // of its file; empty: the secret is in the configuration itself
	// Credential reports whether the file is in systemd's directory of credentials.
	Credential bool
	Previous   string    // its ports stay open too; empty: none
	Until      time.Time // when the ports of Previous close
}

// lists returns the ports of a minute: a list for the port secret and, until its
// date, a list for the previous one.
func (s PortSecret) lists(m schedule.Minute, g schedule.Generator, n int) ([][]uint16, error) {
	secrets := []string{s.Current}
	if s.Previous != "" && m.Start().Before(s.Until) {
		secrets = append(secrets, s.Previous)
	}
	lists := make([][]uint16, len(secrets))
	for i, secret := range secrets {
		var err error
		if lists[i], err = schedule.Ports(g, secret, m, n); err != nil {
			return nil, err
		}
	}
	return lists, nil
}

// HopKeys returns a function that returns the keys of a minute's hops, that of the port
// secret first. The function keeps nothing else of the configuration.
func (s PortSecret) HopKeys() func(schedule.Minute) []schedule.HopKey {
	keys := []schedule.HopKey{schedule.HopKeyOf(s.Current)}
	if s.Previous != "" {
		keys = append(keys, schedule.HopKeyOf(s.Previous))
	}
	until := s.Until
	return func(m schedule.Minute) []schedule.HopKey {
		if !m.Start().Before(until) {
			return keys[:1]
		}
		return keys
	}
}

// Names names the secrets of the lists, in their order.
func (s PortSecret) Names() []schedule.SecretName {
	return []schedule.SecretName{schedule.NameOf(s.Current), schedule.NameOf(s.Previous)}
}

// PortLists returns a function that returns the ports of a minute, each list in
// the order of the knocks. The function keeps nothing else of the configuration.
func (c *Config) PortLists() func(schedule.Minute) ([][]uint16, error) {
	secret, generator, n := c.PortSecret, c.Generator, c.Ports
	return func(m schedule.Minute) ([][]uint16, error) { return secret.lists(m, generator, n) }
}

// ServiceNames returns the names of the services, in the order of the file.
func (c *Config) ServiceNames() []string {
	names := make([]string, len(c.Services))
	for i, s := range c.Services {
		names[i] = s.Name
	}
	return names
}

// Service returns the service with a name, or nil.
func (c *Config) Service(name string) *Service {
	for i := range c.Services {
		if c.Services[i].Name == name {
			return &c.Services[i]
		}
	}
	return nil
}

// ServiceByID returns the service with an identifier, or nil.
func (c *Config) ServiceByID(id access.ServiceID) *Service {
	for i := range c.Services {
		if c.Services[i].ID() == id {
			return &c.Services[i]
		}
	}
	return nil
}
