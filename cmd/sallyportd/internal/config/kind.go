package config

import (
	"log/slog"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// kind is what a type of services has of its own. Each has a file; nothing
// outside of it compares types.
type kind interface {
	// describe says what the service is, in words.
	describe(s *Service) string
	// binds reports whether the server itself listens on the service's port.
	binds() bool
	// published reports whether clients reach the service through this host's
	// translation of addresses, and not on it.
	published() bool
	// upstream is where connections are carried, as host:port; empty: nowhere.
	upstream() string
	// firewall says what of the service requires the firewall, on this host;
	// empty: nothing does.
	firewall(s *Service, h Host) string
	// guard completes how the firewall, if there is one, guards the port.
	guard(s *Service, stealth bool, p *firewall.Port)
	// advice says what about the service would show strangers less; empty: nothing.
	advice(s *Service, c *Config, h Host) string
	// missing says which key names a file that is not there, and what is found
	// instead; empty: all are.
	missing() (key, found string)
	// fixed is what of the kind only a restart changes beside its keys, and as
	// what it is; empty: nothing.
	fixed() (what, value string)
	// live makes the service, closed.
	live(s *Service, env Env) (Live, error)
}

// kinds read the keys that only one type of services has, by the type.
var kinds = map[string]func(r *rawService, f *tomlfile.File, at, dir string, s *Service) (kind, error){
	"web": readWeb, "proxy": readProxy, "firewall": readFirewall,
}

// Env is what a service that runs may touch.
type Env struct {
	Clock clock.Clock
	Log   *slog.Logger
}

// Live is a service that runs.
type Live struct {
	Enforcers []access.Enforcer
	// Prepare opens what strangers see at all times.
	Prepare func() error
	// Load reads what the service leads to by a changed configuration. All that
	// can be wrong with it is found; Apply then takes it into use.
	Load func(*Service) (apply func(), err error)
}

// Live makes the service, closed. Errors are of the files that it names.
func (s *Service) Live(env Env) (Live, error) { return s.kind.live(s, env) }

// Binds reports whether the server itself listens on the service's port.
func (s *Service) Binds() bool { return s.kind.binds() }

// Published reports whether clients reach the service through this host's
// translation of addresses, and not on it.
func (s *Service) Published() bool { return s.kind.published() }

// Advice says what about the service would show strangers less; empty: nothing.
func (s *Service) Advice(c *Config, h Host) string { return s.kind.advice(s, c, h) }

func nothing() error { return nil }

// Readable finds what is wrong with the files that the service names.
func (s *Service) Readable() error {
	_, err := s.Live(Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
	return err
}
