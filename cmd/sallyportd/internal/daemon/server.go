package daemon

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/ingest"
	"sallyport/sessions"
	"sallyport/sessions/fleet"
	"sallyport/sessions/fleet/grants"
	"sallyport/sessions/fleet/presence"
	"sallyport/sessions/fleet/split"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/prove"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// StateWait is how long the server before this one may take to stop.
const StateWait = 5 * time.Second

// Server wires the way of a datagram: ingest -> sessions -> state, and fleet -> gate.
type Server struct {
	env      Env
	ingest   *ingest.Receiver
	sessions *sessions.Sessions
	// connections has the keys and nonces of connections that prove themselves.
	connections prove.Authority
	proves      bool // some must
	state       *state.Store
	fleet       *fleet.Journal                  // nil: the record is that of this host
	shared      *grants.Grants                  // nil: no service opens at all servers of the fleet
	split       *split.Split                    // nil: no sequence is split over servers
	policy      atomic.Pointer[grants.Policy]   // of shared and split
	presence    *presence.Presence              // nil: there is no fleet
	list        *fleetlist.List                 // nil: the clients are those of a file
	copy        *fleetlist.Copy                 // of list
	decided     atomic.Bool                     // see listDecided
	urgent      urgent                          // with list
	following   *config.Fleet                   // of list; a reload cannot change its name and client_keys
	names       []string                        // of the services; a reload cannot change them
	inForce     atomic.Pointer[verify.KeyTable] // the table of reloads, for those without its lock
	parts       atomic.Pointer[[]presence.Part]
	start       start
	gate        announcing
	services    []service
	holder      *holder.Conn // nil: none, and no firewall
	shield      *shield      // nil: the configuration has none
	firewall    *holder.Enforcer
	knocks      *knockPorts
	carried     *carried // nil: the kernel carries no connection
	commands    *program.Commands
	kept        *kept
	interrupted interrupted
	uses        *uses
	leased      leased
	feed        admin.Feed
	challenge   *challenger // nil: there is no challenge–response protocol
	reloads     reloads
	tooFar      *tooFar
	observed    observed
	traces      traces
	self        selfTest
	readers     int
	steps       []step // of a reload
}

// service is a service that runs.
type service struct {
	name string
	config.Live
}

// New makes all parts of a server. Nothing is open before Run, which the caller must
// call: New has locked the state directory. The holder, which has begun, is nil if
// the configuration requires none.
func New(ctx context.Context, cfg *config.Config, list clients.List, h *holder.Conn, env Env) (_ *Server, err error) {
	s := &Server{env: env, holder: h}
	s.newSelfTest(cfg)
	p, err := newPlan(cfg, list, env.Clock.Wall(), s.self.Keys()...)
	if err != nil {
		if env.State != nil {
			env.State.Close()
		}
		return nil, err
	}
	env.setLogLevel(cfg.LogLevel)
	if env.Unguarded {
		s.holder = nil
	}
	s.start.ready, s.interrupted.opened = make(chan struct{}), make(chan struct{})
	s.observed.begin(env.Clock)
	s.steps, s.names = s.reloadSteps(), cfg.ServiceNames()
	s.reloads.current, s.reloads.clients, s.reloads.table = cfg, len(list), p.settings.Rules.Table
	s.observed.inForce.Store(&inForce{cfg, len(list)})
	s.leased.use(p.settings.Rules.Table)
	s.inForce.Store(p.settings.Rules.Table)
	s.reloads.rotations, s.reloads.expiries, s.reloads.expired = p.rotations, p.expiries, p.expired
	s.proves = cfg.Proves()
	if err := s.openState(ctx, cfg, &p); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.leaveFleet()
			s.state.Close()
		}
	}()
	if err := s.joinFleet(cfg); err != nil {
		return nil, err
	}
	if err := s.openList(cfg); err != nil {
		return nil, err
	}
	if err := s.announce(ctx, cfg, p); err != nil {
		return nil, err
	}
	if err := s.beginPrograms(cfg); err != nil {
		return nil, err
	}
	s.openKept(cfg, p.operations)
	s.uses, err = loadUses(cfg.StateDir, p.operations.limited, env.Log)
	if err != nil {
		return nil, err
	}
	s.shareUses()
	if s.holder != nil {
		s.carried = newCarried(s.state, env.Clock.Boot, env.Clock.Wall)
	}
	if err := s.makeGate(cfg, p); err != nil {
		return nil, err
	}
	if err := s.shareGrants(cfg, p); err != nil {
		return nil, err
	}
	workers := cfg.Readers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	s.readers = workers
	parts, err := s.splitSequences(cfg)
	if err != nil {
		return nil, err
	}
	s.sessions, err = sessions.New(s.self.throughSessions(sessions.Config{
		Parts:   parts,
		Clients: p.slots, Shards: workers, Start: s.start.of(env.Clock.Wall), Gate: s.gate, Close: s.closeOwn, Journal: s.journal(), Now: env.Clock.Boot, Log: env.Log,
	}, s.state))
	if err != nil {
		return nil, err
	}
	s.connections.SetNonces(s.sessions)
	s.connections.SetDenied(func(service string, client wire.Identifier, from netip.Addr, o prove.Outcome) {
		env.Log.Info("connection denied", "service", service, "client", client, "address", from, "reason", o)
	})
	s.connections.SetRules(p.settings.Rules)
	var openKnockPorts func(map[uint16]time.Time) error
	var openTraced func([]uint16)
	if s.holder != nil {
		s.knocks = newKnockPorts(cfg.UDPPorts(), h, env)
		openKnockPorts, openTraced = s.knocks.set, s.knocks.trace
	}
	s.ingest, err = ingest.New(ingest.Config{
		Addresses:     cfg.Listen,
		Readers:       workers,
		ReceiveBuffer: cfg.ReceiveBuffer,
		Queue:         cfg.Queue,
		Unfiltered:    !cfg.KernelFilter,
		Shield:        cfg.Shield != nil && h != nil,
		Settings:      p.settings,
		PortsChanged:  openKnockPorts,
		PortsTraced:   openTraced,
		Sink:          s.sessions,
		Now:           env.Clock.Wall,
		Log:           env.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare to receive: %w", err)
	}
	if cfg.Shield != nil && h != nil {
		s.shield = newShield(cfg, len(list), h, s.ingest.SetShield, env.Log)
	}
	s.tooFar = s.newTooFar()
	if cfg.Challenge != nil {
		s.challenge, err = newChallenger(cfg, p.operations, s.uses, s.firewallEnforcer(), s.execute, s.letTunnelIn, env)
		if err != nil {
			return nil, err
		}
		s.challenge.listed = s.listDecided
	}
	s.warnUnusable(p)
	return s, nil
}

// openState opens the state directory, and raises the clients' marks to those that
// are recorded there.
func (s *Server) openState(ctx context.Context, cfg *config.Config, p *plan) (err error) {
	now := s.env.Clock.Wall()
	s.state, err = state.Open(ctx, state.Config{
		Dir: cfg.StateDir, Relaxed: cfg.Relaxed, Now: now, Monotonic: s.env.Clock.Monotonic, Boot: s.env.Clock.Boot, Wait: StateWait, Log: s.env.Log,
		Lock: s.env.State,
	})
	if err != nil {
		return err
	}
	s.start.gap = s.state.Gap()
	if cfg.Fleet != nil {
		s.start.gap.Fresh = false // clients have knocked at the others, and perhaps here
	}
	s.start.logGap(now, s.env.Log)
	if err := s.raiseNonces(p.slots); err != nil {
		s.state.Close()
		return err
	}
	return nil
}

// makeGate makes the services, closed. With a holder, the firewall protects every
// service, whatever its type: its port then looks the same to strangers at all
// times.
func (s *Server) makeGate(cfg *config.Config, p plan) error {
	var shared []access.Enforcer
	if s.holder != nil {
		s.firewall = holder.NewEnforcer(s.holder, cfg.CutByHelper()...)
		s.firewall.Carry(cfg.Carried()...)
		shared = append(shared, s.firewall)
	}
	s.commands = s.newCommands(cfg)
	env := config.Env{Clock: s.env.Clock, Log: s.env.Log, StateDir: cfg.StateDir, Connections: &s.connections}
	if s.env.Programs != nil {
		env.Programs = s.env.Programs
	}
	var list []*gate.Service
	for i := range cfg.Services {
		c := &cfg.Services[i]
		live, err := c.Live(env)
		if err != nil {
			return err
		}
		s.services = append(s.services, service{c.Name, live})
		enforcers := live.Enforcers
		if c.HasPort() {
			enforcers = append(enforcers, shared...)
		}
		var rotation gate.Rotation
		if live.Rotation != nil {
			rotation = live.Rotation
		}
		list = append(list, gate.NewService(gate.ServiceConfig{
			Name: c.Name, PrefixLen4: c.PrefixLen4, PrefixLen6: c.PrefixLen6, Policy: c.Policy, Enforcers: enforcers,
			RequireISN: c.RequireISN, Shared: c.Shared, Elsewhere: c.Elsewhere(), Rotation: rotation, Prepare: live.Prepare, Backend: live.Backend, Inlet: live.Inlet,
			Commands: s.commandsOf(c.Name), Opened: s.opened,
			Past: s.pastOf(c), KeptEnded: s.keptEnded(c.ID()), Ended: s.leaseEnded, Holds: s.leased.set, Clock: s.env.Clock, Log: s.env.Log,
		}))
	}
	services, err := gate.NewServices(list, maps.All(p.restricted))
	s.gate = announcing{Services: services, feed: &s.feed, now: s.env.Clock.Wall, knocked: new(atomic.Bool)}
	if s.carried != nil {
		s.gate.admit = s.admit
	}
	return err
}

// pastOf returns the function by which a service finds the addresses that clients
// had, if the kernel forwards its connections; otherwise nil.
func (s *Server) pastOf(c *config.Service) func(func(wire.Identifier) bool) []access.Peer {
	if s.carried == nil || c.Carries() || !c.HasPort() || c.Policy.Cut { // with Cut, connections end with their leases
		return nil
	}
	id := c.ID()
	s.carried.addService(id, c.PrefixLen4, c.PrefixLen6, c.Policy.OpenMax)
	return func(stays func(wire.Identifier) bool) []access.Peer { return s.carried.past(id, stays) }
}

// firewallEnforcer returns the enforcer of the firewall; nil: there is none. (A nil
// *holder.Enforcer in the interface would not be nil.)
func (s *Server) firewallEnforcer() access.Enforcer {
	if s.firewall == nil {
		return nil
	}
	return s.firewall
}

func (s *Server) warnUnusable(p plan) {
	for _, why := range p.operations.unusable {
		s.env.Log.Warn("operation unavailable", "reason", why)
	}
	for _, o := range p.operations.byID {
		if why := s.uses.refuses(o.limit()); why != "" {
			s.env.Log.Warn("operation unavailable", "reason", why)
		}
	}
}

// Ready is closed once Run has opened, or tried to open, the first knock ports, and
// the second is over up to whose end a start rejects knocks. From then on a client
// with a correct clock gets in, unless the nonce record is incomplete.
func (s *Server) Ready() <-chan struct{} { return s.start.ready }

// Sessions returns how many knocks had which outcome.
func (s *Server) Sessions() [sessions.NumOutcomes]uint64 { return s.sessions.Stats() }

// logServing logs the settings in force.
func (s *Server) logServing() {
	cfg, stats := s.reloads.current, s.ingest.Stats()
	attrs := []any{"clients", s.reloads.clients, "ports", cfg.Ports, "generator", cfg.Generator, "clock_tolerance", cfg.Tolerance,
		"services", strings.Join(cfg.ServiceNames(), ","), "firewall", s.holder != nil, "kernel_filter", stats.Filter, "shield", s.shield.modes()}
	if stats.Open == 0 {
		s.env.Log.Warn("no knock port is open", attrs...)
		return
	}
	s.env.Log.Info("serving", attrs...)
}
