package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sallyport/cmd/sallyportd/internal/config"
	ingestweb "sallyport/ingest/web"
	carriedtable "sallyport/sessions/handshakes/carried"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// carriers are the exchanges that travel over HTTP and DNS, wired:
// sockets -> web -> carriedtable.Table -> proofs. Its methods may be called concurrently; run is
// called once. A socket that cannot be bound is tried again, and the others serve.
type carriers struct {
	table *carriedtable.Table
	sites []*site // by [[challenge.http]]
	zone  *zone   // nil: no [challenge.dns]
	env   Env

	mu     sync.Mutex
	failed map[string]string // why the sockets of listeners are not bound, by their names
}

// site is a listener whose requests carry exchanges.
type site struct {
	name    string // of the listener
	listen  string
	http    *ingestweb.HTTP
	server  ingestweb.Server
	content atomic.Pointer[config.Site]
}

// zone answers the queries for the zone of [challenge.dns].
type zone struct {
	name   string // of the listener
	listen string
	config ingestweb.DNSConfig
	now    atomic.Pointer[ingestweb.DNS] // nil: its sockets are not bound yet
}

// newCarriers makes the carriers of a configuration, whose sockets run binds; nil: it has
// none. Of the table's configuration, the caller sets the functions.
func newCarriers(cfg *config.Config, o operations, c carriedtable.Config, tunnels ingestweb.Tunnels, env Env) (*carriers, error) {
	if len(cfg.HTTP()) == 0 && cfg.DNS() == nil {
		return nil, nil
	}
	c.Operations, c.Random = o.protocol, rand.Reader
	c.Slots = max(cfg.Challenge.Exchanges, carriedtable.MinSlots)
	c.Rate = min(cfg.Challenge.Rate, c.Slots/8) // its maximum
	if d := cfg.DNS(); d != nil {
		// The table divides challenges among the operations, and the limit of answers does
		// not: new challenges, and those that are sent again, must stay below it.
		c.Rate = max(1, min(c.Rate, d.Answers/2))
	}
	table, err := carriedtable.New(c)
	if err != nil {
		return nil, err
	}
	all := &carriers{table: table, env: env, failed: map[string]string{}}
	table.Turn(env.Clock.Wall())
	v4, v6 := cfg.ReachedAt(hostAddresses())
	for i := range cfg.HTTP() {
		s, err := newSite(&cfg.HTTP()[i], table, tunnels, v4, v6, env)
		if err != nil {
			return nil, err
		}
		all.sites = append(all.sites, s)
	}
	if d := cfg.DNS(); d != nil {
		all.zone = &zone{name: config.CarrierListener{Key: "challenge.dns", Listen: d.Listen}.Name(), listen: d.Listen, config: ingestweb.DNSConfig{
			Zone: d.Zone, Amplification: d.Amplification, Answers: d.Answers, Now: env.Clock.Boot,
			Exchanges: table.At(carrier.ServerOf(carrier.DNS, d.Zone.Name), netip.Addr{}, netip.Addr{}),
		}}
	}
	return all, nil
}

// hostAddresses returns the addresses of this host's interfaces.
func hostAddresses() (all []netip.Addr) {
	list, _ := net.InterfaceAddrs() // none are known, which "check" reports
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p.Addr())
		}
	}
	return all
}

func newSite(h *config.HTTP, table *carriedtable.Table, tunnels ingestweb.Tunnels, v4, v6 netip.Addr, env Env) (*site, error) {
	s := &site{name: config.CarrierListener{Key: "challenge.http", Listen: h.Listen}.Name(), listen: h.Listen}
	content, err := h.Site()
	if err != nil {
		return nil, err
	}
	s.content.Store(&content)
	proxies, err := h.Trusted()
	if err != nil {
		return nil, err
	}
	c := ingestweb.HTTPConfig{
		Unproved: h.Unproved, Proxies: proxies, Now: env.Clock.Boot,
		Exchanges: table.At(carrier.ServerOf(carrier.HTTP, h.Host), v4, v6),
	}
	if h.Tunnel {
		// At most half of the connections: else those of strangers would displace tunnels.
		c.Tunnels, c.MaxTunnels = tunnels, max(1, min(ingestweb.DefaultTunnels, h.Connections/2))
	}
	if h.Unproved == 0 {
		c.Site = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.content.Load().Handler.ServeHTTP(w, r)
		})
	}
	if s.http, err = ingestweb.NewHTTP(c); err != nil {
		return nil, fmt.Errorf("[[challenge.http]] at %s: %w", h.Listen, err)
	}
	s.server = ingestweb.Server{Handler: s.http, Connections: h.Connections, Proxies: proxies}
	if h.TLS() {
		s.server.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.content.Load().Certificate, nil
		}}
	}
	return s, nil
}

// prepare reads the files of a changed configuration. apply then uses them for later
// requests and connections, and cannot fail. It may be called on nil.
func (c *carriers) prepare(next *config.Config) (apply func(), err error) {
	if c == nil {
		return func() {}, nil
	}
	contents := make([]config.Site, len(c.sites))
	for i := range c.sites {
		if contents[i], err = next.HTTP()[i].Site(); err != nil {
			return nil, err
		}
	}
	return func() {
		for i, s := range c.sites {
			s.content.Store(&contents[i])
		}
	}, nil
}

// update changes the operations, and ends the exchanges of those that have changed. It
// may be called on nil.
func (c *carriers) update(o *exchange.Operations) {
	if c != nil {
		c.table.Update(o)
	}
}

// run serves until ctx ends. Then no socket is open, and no query or request is taken.
func (c *carriers) run(ctx context.Context) {
	if c == nil {
		return
	}
	var g errgroup.Group
	for _, s := range c.sites {
		g.Go(func() error {
			c.keepServing(ctx, s.name, s.listen, s.serve)
			return nil
		})
	}
	if c.zone != nil {
		g.Go(func() error {
			c.keepServing(ctx, c.zone.name, c.zone.listen, c.zone.serve)
			return nil
		})
	}
	g.Go(func() error {
		c.sweep(ctx)
		return nil
	})
	g.Wait()
}

// carrierPause is the time between two attempts to bind the sockets of a carrier.
const carrierPause = time.Second

// keepServing calls serve until ctx ends, which calls bound when its sockets are bound.
func (c *carriers) keepServing(ctx context.Context, name, listen string, serve func(ctx context.Context, bound func()) error) {
	for ctx.Err() == nil {
		err := serve(ctx, func() {
			c.setFailed(name, "")
			c.env.Log.Info("carrier listening", "listen", listen)
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		if c.setFailed(name, err.Error()) {
			c.env.Log.Error("carrier unavailable; retrying", "listen", listen, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(carrierPause):
		}
	}
}

// setFailed notes why the sockets of a listener are not bound (empty: they are), and
// reports whether that is new.
func (c *carriers) setFailed(name, why string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.failed[name]
	if c.failed[name] = why; why == "" {
		delete(c.failed, name)
	}
	return was != why
}

// waiting adds the listeners whose sockets are not bound, and why. It may be called on nil.
func (c *carriers) waiting(all map[string]string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(all, c.failed)
}

// waiting returns why services stay closed even for clients with a lease, and why
// listeners of carriers are not bound, by their names.
func (s *Server) waiting() map[string]string {
	all := s.gate.Waiting()
	if s.challenge != nil {
		s.challenge.carriers.waiting(all)
	}
	return all
}

// serve serves the requests of the listener until ctx ends or the listener fails.
func (s *site) serve(ctx context.Context, bound func()) error {
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	bound()
	return s.server.Run(ctx, l)
}

// serve answers queries until ctx ends.
func (z *zone) serve(ctx context.Context, bound func()) error {
	u, err := net.ListenPacket("udp", z.listen)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", z.listen)
	if err != nil {
		u.Close()
		return err
	}
	c := z.config
	c.Sockets, c.Listeners = []*net.UDPConn{u.(*net.UDPConn)}, []net.Listener{l}
	d, err := ingestweb.NewDNS(c)
	if err != nil {
		u.Close()
		l.Close()
		return err
	}
	z.now.Store(d)
	bound()
	d.Run(ctx)
	return nil
}

// sweep lets exchanges expire, and requests age, until ctx ends.
func (c *carriers) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.table.Turn(c.env.Clock.Wall())
			c.table.Sweep(c.env.Clock.Boot())
		}
	}
}
