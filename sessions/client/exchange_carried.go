package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"sallyport/sessions/client/carriers"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// messenger carries the messages of an exchange.
type messenger interface {
	Request(context.Context, *carrier.Message, carriers.Accept) error
	Respond(context.Context, *carrier.Message) error
	Close()
}

// carriedConn carries one exchange by HTTP or DNS. It implements transport.
type carriedConn struct {
	messenger
	by           Carrier
	kind         carrier.Kind // of the request
	number       carrier.Exchange
	self, server netip.Addr // ID_A and PID_B
	seen         netip.Addr // this computer's own address; invalid: unknown
	budget       time.Duration
	request      []byte
	ctx          context.Context
	cancel       context.CancelFunc
	handed       atomic.Bool // the messenger belongs to a Stream, which closes it
}

// newCarried makes the transport of an exchange with an address of the server. It sends
// nothing.
func (x *exchanging) newCarried(ctx context.Context, server netip.Addr) (*carriedConn, error) {
	cfg := x.cfg
	s := &carriedConn{by: x.by, kind: x.kind(server), budget: cfg.CarrierTime}
	var number [8]byte
	if _, err := io.ReadFull(cfg.Random, number[1:]); err != nil {
		return nil, fmt.Errorf("draw the number of the exchange: %w", err)
	}
	s.number = carrier.Exchange(binary.BigEndian.Uint64(number[:]))
	var err error
	if s.messenger, err = x.messenger(s.kind, server); err != nil {
		return nil, err
	}
	s.self, s.server = x.addresses(s, server)
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// kind returns the kind of a request for an address of the server. Through a tunnel, and
// for a service whose connections prove themselves, the client's address has no meaning.
func (x *exchanging) kind(server netip.Addr) carrier.Kind {
	switch {
	case x.by == CarrierDNS, x.cfg.Challenge.Bind == BindConnection, x.cfg.tunnels(x.by):
		return carrier.RequestConnection
	case translated(server).Is4():
		return carrier.Request4
	}
	return carrier.Request6
}

// messenger makes the messenger of a kind of request for an address of the server.
func (x *exchanging) messenger(k carrier.Kind, server netip.Addr) (messenger, error) {
	cfg := x.cfg
	if x.by == CarrierDNS {
		return carriers.NewDNS(carriers.DNSConfig{Zone: cfg.Challenge.DNS, Servers: cfg.Challenge.DNSServers, Resolver: cfg.Resolver})
	}
	h := carriers.HTTPConfig{URL: cfg.Challenge.HTTPS, Roots: cfg.Roots, Proxy: cfg.Proxy}
	switch k {
	case carrier.Request4:
		if h.Network = "tcp4"; server.Is6() {
			h.Network = "tcp6"
		}
	case carrier.Request6:
		h.Network = "tcp6"
	}
	u, err := carriers.ParseURL(h.URL)
	if err != nil {
		return nil, err
	}
	if u.Hostname() == cfg.Server {
		h.Addresses = cfg.Addresses
	}
	return carriers.NewHTTP(h)
}

// addresses returns ID_A and PID_B. Behind a proxy or a NAT64 the client does not know its
// address.
func (x *exchanging) addresses(s *carriedConn, server netip.Addr) (self, peer netip.Addr) {
	if s.kind == carrier.RequestConnection {
		return carrier.ClientOf(s.number), x.named()
	}
	self = netip.IPv6Unspecified()
	if peer = translated(server); peer.Is4() {
		self = netip.IPv4Unspecified()
	}
	if h, ok := s.messenger.(*carriers.HTTP); ok && h.Proxied() {
		return self, peer
	}
	if _, a, err := sourceAddress(server); err == nil && peer == server {
		s.seen, self = a, a.WithZone("")
	}
	return self, peer
}

// named returns PID_B of an exchange for a connection.
func (x *exchanging) named() netip.Addr {
	if x.by == CarrierDNS {
		zone, _ := carriers.ParseZone(x.cfg.Challenge.DNS) // Check has parsed it
		return carrier.ServerOf(carrier.DNS, zone)
	}
	name := ""
	if u, err := carriers.ParseURL(x.cfg.Challenge.HTTPS); err == nil {
		name = carriers.Host(u)
	}
	return carrier.ServerOf(carrier.HTTP, name)
}

func (s *carriedConn) address() netip.Addr        { return s.self }
func (s *carriedConn) peer(netip.Addr) netip.Addr { return s.server }
func (s *carriedConn) source() netip.Addr         { return s.seen }

// sendRequest keeps the request: awaitChallenge sends it, since its answer is the
// challenge.
func (s *carriedConn) sendRequest(_ context.Context, _ *challenge.Codec, i *exchange.Initiator) error {
	s.request = i.Request()
	return nil
}

// awaitChallenge sends the request, and returns the answer to the challenge.
func (s *carriedConn) awaitChallenge(
	i *exchange.Initiator, _ time.Duration, _ io.Reader, found *exchangeFindings,
) (exchange.Answer, error) {
	m, err := carrier.New(s.kind, s.number, s.request)
	if err != nil {
		return exchange.Answer{}, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.budget)
	defer cancel()
	var answer exchange.Answer
	forged := 0
	err = s.messenger.Request(ctx, &m, func(challenge []byte) bool {
		a, err := i.Answer(challenge)
		if err != nil {
			forged++
			return false
		}
		answer = a
		return true
	})
	found.forged += forged
	errors.As(err, &found.fault)
	return answer, err
}

// sendMessage sends the response.
func (s *carriedConn) sendMessage(ctx context.Context, _ *challenge.Codec, response []byte) error {
	m, err := carrier.New(carrier.Response, s.number, response)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.budget)
	defer cancel()
	return s.messenger.Respond(ctx, &m)
}

// otherLanes returns lanes to the service at the other addresses of the server, if the
// exchange has opened for a connection: all of them accept it.
func (x *exchanging) otherLanes(r *request, result Result, responded time.Time, first *lane) (lanes []*lane) {
	s, ok := r.transport.(*carriedConn)
	if !ok || s.kind != carrier.RequestConnection || result.SingleUse {
		return nil
	}
	for _, t := range x.targets {
		if t.watched() && t.service != first.service {
			l := newLane(t.service, responded, x.cfg.Timeout, func() before { return beforeUnknown })
			l.prover = first.prover
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// tunnel connects to the service through the web server.
func (x *exchanging) tunnel(ctx context.Context, r *request, n int) (Result, error) {
	s := r.transport.(*carriedConn)
	way := s.messenger.(*carriers.HTTP)
	dialCtx, cancel := context.WithTimeout(ctx, s.budget)
	defer cancel()
	c, err := x.dialTunnel(dialCtx, way, s, r.answer.Ticket)
	if err != nil {
		x.found.tunnel = err
		return Result{Service: r.service}, err
	}
	s.handed.Store(true)
	x.found.count(r.knock, func(c *tally) { c.opened++ })
	return Result{
		Address: r.knock, Service: r.service, Attempts: n, Watched: true, Carrier: x.by, Tunnel: c,
		Lost: x.found.lost(r.knock),
	}, nil
}

// dialTunnel opens a tunnel, and proves it where connections must prove themselves.
func (x *exchanging) dialTunnel(ctx context.Context, way *carriers.HTTP, s *carriedConn, ticket [exchange.TicketSize]byte) (Stream, error) {
	if x.cfg.Challenge.Bind != BindConnection {
		return x.cfg.Tunnel.DialService(ctx, way, s.number, ticket)
	}
	if x.cfg.Prover == nil {
		return nil, errNoProver
	}
	proof, err := x.cfg.Prover.Prepare(ctx) // before the connection: the server waits for the preamble from then on
	if err != nil {
		return nil, err
	}
	c, err := x.cfg.Tunnel.DialService(ctx, way, s.number, ticket)
	if err != nil {
		return nil, err
	}
	if err := proof.Prove(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// checkAnswered does nothing: a carrier gives one challenge for a request.
func (s *carriedConn) checkAnswered(*exchange.Initiator, exchange.Answer, *exchangeFindings) {}

// Close ends the exchange.
func (s *carriedConn) Close() error {
	s.cancel()
	if !s.handed.Load() {
		s.messenger.Close()
	}
	return nil
}
