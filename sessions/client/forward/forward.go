package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"sallyport/sessions/client"
)

// Defaults of a Config.
const (
	// MaxConnections: each needs two descriptors, and with splice(2) up to six.
	MaxConnections = 512
	// MaxFlows: each has a buffer of 64 KiB, and stores up to as much during a knock.
	MaxFlows = 256
	// Idle is the time that RFC 4787 recommends (REQ-5).
	Idle = 5 * time.Minute
)

// Request is what a knock must open.
type Request struct {
	Service string // as client.ParseService reads it; empty: that of the profile
	Keep    bool   // return a connection to it
	// Refused: the service refuses connections, although the lease of an earlier knock
	// should be in force. Probably it will after this knock too.
	Refused bool
}

// Opened is what a knock has opened.
type Opened struct {
	Server  netip.Addr     // to which the knocks went; invalid: Conn is all that they have opened
	Service netip.AddrPort // of the request; invalid as Server
	Conn    Conn           // with Keep
}

// Conn is a connection: a *net.TCPConn, a *net.UnixConn, a *client.Conn or a client.Stream.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Config is the configuration of Serve. Knock is required.
type Config struct {
	// Knock opens a service: see Sequence and Challenge.
	Knock func(context.Context, Request) (Opened, error)
	// OpenFor is how long a service stays open after a knock; 0: unknown.
	OpenFor time.Duration
	// Opened is what a knock of the caller has opened for the first route, and Age the time
	// since that began. The zero value: nothing.
	Opened Opened
	Age    time.Duration
	// Dial connects to an address; nil: a net.Dialer. A connection by TCP must be a Conn.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	MaxConnections int           // at a time; 0: MaxConnections
	MaxFlows       int           // at a time; 0: MaxFlows
	Idle           time.Duration // after which a flow ends; 0: Idle

	Report func(Event) // may be nil; called by several goroutines, one at a time
}

// Route is a service, and the local sockets that lead to it.
type Route struct {
	Service string // as in Request
	Each    bool   // each connection requires a knock, and is that of the knock
	Granted bool   // only admitted addresses can connect to the service
	Rotates bool   // each knock opens another port
	// Prover proves connections that are made without a knock; nil: the service asks for
	// no proof.
	Prover  Prover
	Streams []net.Listener
	Packets []PacketConn
}

// Prover makes the proofs of connections, as a *client.ConnProver does.
type Prover interface {
	Prepare(ctx context.Context) (*client.Proof, error)
}

// PacketConn is a local socket for datagrams: a *net.UDPConn.
type PacketConn interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// server is one call of Serve.
type server struct {
	cfg      Config
	opener   *opener
	slots    chan struct{} // for connections
	reports  sync.Mutex
	fatal    context.CancelCauseFunc
	running  sync.WaitGroup
	flowLock sync.Mutex
	flows    map[flowKey]*flow
}

// Serve carries connections and datagrams until ctx ends, and closes the sockets of the
// routes. Then it returns nil. It returns an error before that if the configuration is
// not valid, or if a connection cannot be made on this computer at all: an ISNError.
func Serve(ctx context.Context, cfg Config, routes []Route) error {
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	served := make([]*route, len(routes))
	for i, r := range routes {
		if served[i], err = newRoute(r); err != nil {
			return err
		}
	}
	if cfg.Opened.Service.IsValid() && len(served) > 0 {
		s.opener.lease = lease{n: 1, begin: time.Now().Add(-cfg.Age), server: cfg.Opened.Server}
		served[0].at = cfg.Opened.Service
	}
	ctx, s.fatal = context.WithCancelCause(ctx)
	defer s.fatal(nil)
	for _, r := range served {
		for _, l := range r.Streams {
			s.running.Go(func() { s.accept(ctx, r, l) })
		}
		for _, p := range r.Packets {
			s.running.Go(func() { s.receive(ctx, r, p) })
		}
	}
	<-ctx.Done()
	for _, r := range served {
		r.close()
	}
	s.running.Wait()
	var isn *client.ISNError
	if errors.As(context.Cause(ctx), &isn) {
		return isn
	}
	return nil
}

func newServer(cfg Config) (*server, error) {
	if cfg.Knock == nil {
		return nil, errors.New("forward: Knock is missing")
	}
	if cfg.Report == nil {
		cfg.Report = func(Event) {}
	}
	if cfg.Dial == nil {
		var d net.Dialer
		d.SetMultipathTCP(false) // as the connections of package client
		cfg.Dial = d.DialContext
	}
	cfg.MaxConnections = cmp.Or(cfg.MaxConnections, MaxConnections)
	cfg.MaxFlows = cmp.Or(cfg.MaxFlows, MaxFlows)
	cfg.Idle = cmp.Or(cfg.Idle, Idle)
	return &server{
		cfg: cfg, opener: &opener{knocks: cfg.Knock, openFor: cfg.OpenFor, running: map[*route]*attempt{}},
		slots: make(chan struct{}, cfg.MaxConnections), flows: map[flowKey]*flow{},
	}, nil
}

func newRoute(r Route) (*route, error) {
	own := &route{Route: r}
	if r.Service == "" {
		return own, nil
	}
	service, err := client.ParseService(r.Service)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	if service.Host == "" {
		own.port = service.Port
	}
	return own, nil
}

func (r *route) close() {
	for _, l := range r.Streams {
		l.Close()
	}
	for _, p := range r.Packets {
		p.Close()
	}
}

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
