package client

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// request is one request to one address, with its result.
type request struct {
	target            // of the challenge, once that has come
	asked      target // of the request
	index      int    // of the target
	transport  transport
	initiator  *exchange.Initiator
	responses  *challenge.Codec
	hop        *schedule.Hop // of the minute of the request; nil: the ports do not move
	early      *earlyConn
	sent       time.Time
	challenged time.Time
	answer     exchange.Answer
	err        error            // no challenge came
	found      exchangeFindings // of the wait for the challenge
}

func (r *request) close() {
	r.transport.Close()
	r.early.close()
}

// request sends a request to an address, with a new socket.
func (x *exchanging) request(ctx context.Context, t target, n int) (*request, error) {
	cfg := x.cfg
	requests, responses, err := x.codecs(t)
	if err != nil {
		return nil, err
	}
	s, err := x.openTransport(ctx, t.knock, n)
	if err != nil {
		return nil, &sendError{err}
	}
	r := &request{target: t, asked: t, transport: s, responses: responses}
	if cfg.Challenge.Hop != 0 {
		h := cfg.Challenge.HopKey.Hop(schedule.MinuteOf(cfg.Now()), cfg.Challenge.Hop)
		if r.hop = &h; x.by == CarrierPackets {
			requests, r.responses = requests.Moved(h.Distance), responses.Moved(h.Distance)
		}
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err = x.sendRequest(ctx, r, requests, n); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (x *exchanging) sendRequest(ctx context.Context, r *request, requests *challenge.Codec, n int) error {
	cfg := x.cfg
	var err error
	r.initiator, err = cfg.Challenge.initiator(r.transport.address(), r.transport.peer(r.knock), cfg.Random)
	if err != nil {
		return err
	}
	if r.hop != nil {
		r.initiator.Hop(*r.hop)
	}
	before := Config{CheckBefore: cfg.CheckBefore, Keep: cfg.Keep}
	if n == 1 && len(x.spread) == 0 && before.checksBefore() && x.watches(r.target) && !cfg.Challenge.Operation.RandomPort() {
		r.early = beginEarly(r.service)
	}
	if err := r.transport.sendRequest(ctx, requests, r.initiator); err != nil {
		return &sendError{err}
	}
	r.sent = time.Now()
	sent := Requested{Attempt: n, Of: cfg.Attempts, Address: r.knock, Carrier: x.by}
	if x.by == CarrierPackets {
		sent.Packets, sent.First, sent.Last = requests.Packets(), requests.First(), requests.Last()
		sent.TCP = cfg.Challenge.AnswerPort != 0
	}
	cfg.Report(sent)
	x.found.count(r.knock, func(c *tally) { c.requested++ })
	return nil
}

// respond responds to the challenge of a request, and watches the service. If the
// service did not answer, the result has its address.
func (x *exchanging) respond(ctx context.Context, r *request, n int) (Result, error) {
	cfg, found, s := x.cfg, &x.found, r.transport
	found.challenged++
	x.settle(r)
	found.count(r.asked.knock, func(c *tally) { c.challenged++ })
	if cfg.tunnels(x.by) && !cfg.Keep {
		return Result{Address: r.knock, Service: r.service, Attempts: n, Carrier: x.by, ByTunnel: true}, nil
	}
	took := r.challenged.Sub(r.sent)
	if err := cfg.Challenge.sign(ctx, &r.answer, x.by); err != nil {
		return Result{}, err
	}
	if err := s.sendMessage(ctx, r.responses, r.answer.Response); ctx.Err() != nil {
		return Result{}, ctx.Err()
	} else if err != nil && !errors.As(err, &found.fault) {
		return Result{}, &sendError{err}
	}
	responded := time.Now()
	found.sentFrom, found.public = s.source(), r.answer.Public
	answered := Answered{Public: r.answer.Public, Took: took}
	again := func() {}
	if x.by == CarrierPackets {
		answered.Packets = r.responses.Packets()
		// The server ignores duplicates of these packets. With the other schemes, their
		// order matters.
		if scheme := cfg.Challenge.Response.Scheme; scheme == challenge.Sequence || scheme == challenge.Ranges {
			again = func() { s.sendMessage(ctx, r.responses, r.answer.Response) }
		}
	} else if s.(*carriedConn).kind == carrier.RequestConnection {
		found.public, answered.Public = netip.Addr{}, netip.Addr{}
	}
	cfg.Report(answered)
	if cfg.tunnels(x.by) {
		return x.tunnel(ctx, r, n)
	}
	result, watched := Result{Address: r.knock, Service: r.service, UDP: r.udp, Attempts: n, Carrier: x.by, Gateway: x.gatewayAt(r)}, x.watches(r.target)
	if r.answer.Port != 0 {
		result.Service, result.SingleUse, result.UDP = netip.AddrPortFrom(r.knock, r.answer.Port), true, false
		watched = true
	}
	if !watched || result.SingleUse && !cfg.Keep {
		// The response needs time to arrive.
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(took + openTime):
			again()
			found.count(r.asked.knock, func(c *tally) { c.opened = c.challenged }) // the client does not know more
			result.Lost = found.lost(r.asked.knock)
			return result, nil
		}
	}
	timer := time.AfterFunc(took+responseTime, again)
	defer timer.Stop()
	result, err := x.watch(ctx, result, r, responded)
	if err != nil {
		s.checkAnswered(r.initiator, r.answer, found)
		return result, err
	}
	found.count(r.asked.knock, func(c *tally) { c.opened++ })
	result.Lost = found.lost(r.asked.knock)
	return result, nil
}

// watch watches the service of a result until it answers. If it does not, the result
// has its address.
func (x *exchanging) watch(ctx context.Context, result Result, r *request, responded time.Time) (Result, error) {
	cfg, found := x.cfg, &x.found
	was := r.early.answer
	if r.early == nil {
		was = func() before { return found.before }
	}
	l := newLane(result.Service, responded, cfg.Timeout, was)
	if cfg.Challenge.Bind == BindISN && cfg.Keep {
		l.isn = wire.ISN(r.answer.ISN)
	}
	granted := x.granted && !result.SingleUse && (cfg.Keep || cfg.Watch != WatchConnection)
	whole := cfg.Keep || cfg.Watch == WatchConnection || !canHalfOpen
	if x.own && whole && !result.SingleUse {
		l.prover = cfg.Prover
	}
	conns := newConnector(ctx, whole, granted)
	conns.keep, conns.early, conns.lanes = cfg.Keep, cfg.Keep && canPeek, []*lane{l}
	conns.lanes = append(conns.lanes, x.otherLanes(r, result, responded, l)...)
	l = conns.waitAny(ctx)
	seen := l.sighting
	result.Service = l.service
	if seen.err != nil {
		found.at, found.service, found.before = result.Service, seen.err, seen.before
		if result.Service.Addr() == result.Address {
			found.connectedFrom = seen.local
		}
		x.enough = l.letIn(time.Now()) || endsProofs(seen.err)
		return Result{Service: result.Service}, seen.err
	}
	result.Watched, result.OpenBefore = true, seen.before == beforeOpen && cfg.CheckBefore
	if result.Conn = seen.conn; cfg.Keep {
		result.Conn.explain = x.explain(result, seen.before)
		result.Conn.keep(ctx, l)
		return result, nil
	}
	seen.conn.closeInOrder()
	result.Conn = nil
	seen.settle(ctx)
	return result, nil
}

// explain returns the function with which a connection explains that it ended at once.
func (x *exchanging) explain(r Result, was before) func(error) error {
	return func(err error) error {
		after := *x
		after.found.at, after.found.service, after.found.before = r.Service, err, was
		return after.offline(r.Attempts)
	}
}

// responseTime is how long the service may take to answer before the client sends the
// response again.
const responseTime = 300 * time.Millisecond

// openTime is how long a server may need to open a port.
const openTime = 50 * time.Millisecond
