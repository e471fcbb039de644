package config

import (
	"time"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// Config is what the server runs with: everything checked, nothing default. It
// is immutable.
type Config struct {
	Path   string // of the file; other paths are relative to its directory no more
	Server string // by which clients reach it; empty: not said
	Listen udp.Addresses

	Ports      int // knocks of a sequence
	Generator  schedule.Generator
	PortSecret PortSecret
	Tolerance  time.Duration // how far a client's clock may be off

	Readers       int // threads; 0: one a processor
	ReceiveBuffer int // of a socket, in bytes; 0: the kernel's default
	KernelFilter  bool

	Services   []Service
	Challenge  *Challenge // nil: there is no challenge–response protocol
	Operations []Operation

	ClientsPath string
	// ClientsSettle is how long the clients file has to stand as it is before
	// clients that are missing in it are cut off.
	ClientsSettle time.Duration
	StateDir      string
	Relaxed       bool // a grant takes effect before its nonces are on disk
	AdminSocket   string
	// FirewallSocket is where a holder of the firewall answers that goes on by
	// itself, if there is one.
	FirewallSocket string

	User          string   // empty: none
	Stealth       bool     // unsolicited UDP gets no answer, wherever it goes
	StealthExcept []uint16 // but there
	ClearOnExit   bool     // the firewall's table goes when the server stops in order

	file  *tomlfile.File // where its keys stand
	fixed []setting
}

// PortSecret is what the ports are drawn from, as text.
type PortSecret struct {
	Current  string
	Path     string    // of its file; empty: it stands in the configuration itself
	Previous string    // whose ports stay open; empty: none
	Until    time.Time // of the previous one
}

// lists draws the ports of a minute: those of the port secret and, until its
// date, those of the one before.
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

// PortLists returns what draws the ports of a minute, each list in the order of
// the knocks. It keeps nothing else of the configuration.
func (c *Config) PortLists() func(schedule.Minute) ([][]uint16, error) {
	secret, generator, n := c.PortSecret, c.Generator, c.Ports
	return func(m schedule.Minute) ([][]uint16, error) { return secret.lists(m, generator, n) }
}

// ServiceNames returns the services' names, in their order.
func (c *Config) ServiceNames() []string {
	names := make([]string, len(c.Services))
	for i, s := range c.Services {
		names[i] = s.Name
	}
	return names
}

// Service returns the service of a name; nil if there is none.
func (c *Config) Service(name string) *Service {
	for i := range c.Services {
		if c.Services[i].Name == name {
			return &c.Services[i]
		}
	}
	return nil
}
