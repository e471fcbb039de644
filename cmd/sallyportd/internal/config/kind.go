package config

import (
	"crypto/x509"
	"log/slog"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/prove"
)

// kind is the part of a service that depends on its type. Each kind has a file; no
// code outside of these files compares types.
type kind interface {
	// describe describes the service in a few words.
	describe(s *Service) string
	// binds reports whether the server itself listens on the service's port.
	binds() bool
	// published reports whether clients reach the service only through address
	// translation by this host.
	published() bool
	// upstream returns the host:port to which connections are forwarded; empty: none.
	upstream() string
	// firewall returns what in the service requires the firewall on a host, as the
	// subject of a sentence; empty: nothing.
	firewall(s *Service, h Host) string
	// guard completes the firewall's rules for the port.
	guard(s *Service, stealth bool, p *firewall.Port)
	// trusted returns the peers that reach the service without a lease.
	trusted() firewall.Trusted
	// advice returns a change that would reveal less to strangers; empty: none.
	advice(s *Service, c *Config, h Host) string
	// missing returns the fault of a key whose file is missing, or of no use.
	missing() fault
	// fixed returns the name and value of a property of the kind that only a
	// restart changes, in addition to its keys; empty: none.
	fixed() (key, value string)
	// live creates the service, closed.
	live(s *Service, env Env) (Live, error)
}

// kinds has, by type, the function that reads the keys of a kind.
var kinds = map[string]func(r *rawService, f *tomlfile.File, at, dir string, s *Service) (kind, error){
	"web": readWeb, "proxy": readProxy, "firewall": readFirewall, "process": readProcess, "command": readCommand,
}

// Env is the environment of running services.
type Env struct {
	Clock clock.Clock
	Log   *slog.Logger
	// Programs starts the programs of services; nil: no service starts.
	Programs program.Starter
	// Connections has the keys and nonces of connections that prove themselves; nil: none
	// passes.
	Connections *prove.Authority
	// StateDir is the server's state directory, which only its user may enter, with the
	// sockets that programs inherit.
	StateDir string
}

// Live is a running service.
type Live struct {
	Enforcers []access.Enforcer
	// Rotation chooses the ports of a service whose port rotates; nil: it is fixed.
	Rotation *gate.Rotating
	// Prepare binds the service's port: see gate.ServiceConfig. nil: another program
	// has the port.
	Prepare func() error
	// Inlet takes the tunnels to the service; nil: it takes none.
	Inlet *gate.Inlet
	// Connections and Flows return how many TCP connections and UDP flows of clients there
	// are, and take no lock of their way. nil: this process carries none.
	Connections, Flows func() int
	// Backend is the program behind the service; nil: it has none.
	Backend gate.Backend
	// Load prepares the content or upstream of a changed configuration, and returns
	// all errors of it. apply then uses it, and cannot fail.
	Load func(*Service) (apply func(), err error)
}

// Live creates the service, closed. It returns errors of the files that the service
// names.
func (s *Service) Live(env Env) (Live, error) {
	l, err := s.kind.live(s, env)
	if load := l.Load; err == nil && l.Rotation != nil {
		l.Load = func(next *Service) (func(), error) {
			apply, err := load(next)
			return func() {
				apply()
				l.Rotation.Update(next.Draw())
			}, err
		}
	}
	return l, err
}

// Binds reports whether the server itself listens on the service's port.
func (s *Service) Binds() bool { return s.kind.binds() }

// Published reports whether clients reach the service only through address
// translation by this host.
func (s *Service) Published() bool { return s.kind.published() }

// Advice returns a change that would reveal less to strangers; empty: none.
func (s *Service) Advice(c *Config, h Host) string { return s.kind.advice(s, c, h) }

// Upstream returns the host:port to which the service forwards; empty: none.
func (s *Service) Upstream() string { return s.kind.upstream() }

// Certificate returns the service's certificate chain, and its file; nil: it has
// none, or it cannot be read.
func (s *Service) Certificate() (file string, chain []*x509.Certificate) {
	if k, ok := s.kind.(interface {
		certificate() (string, []*x509.Certificate)
	}); ok {
		return k.certificate()
	}
	return "", nil
}

// Scheme returns the scheme of the service's URL, "http" or "https"; empty: it need not be
// a web server.
func (s *Service) Scheme() string {
	if k, ok := s.kind.(interface{ scheme() string }); ok {
		return k.scheme()
	}
	return ""
}

// Readable returns an error if the files that the service names are invalid.
func (s *Service) Readable() error {
	_, err := s.Live(Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)})
	return err
}
