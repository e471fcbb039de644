package client

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// attempt makes one exchange, with a new socket. If the service did not answer, the
// result has its address.
func (cfg ExchangeConfig) attempt(ctx context.Context, t target, n int, timeout time.Duration, found *exchangeFindings) (Result, error) {
	requests, responses, err := cfg.Challenge.codecs(t.knock.Is6())
	if err != nil {
		return Result{}, err
	}
	s, err := cfg.openTransport(t.knock)
	if err != nil {
		return Result{}, &sendError{err}
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	var nonce [exchange.NonceSize]byte
	if _, err := io.ReadFull(cfg.Random, nonce[:]); err != nil {
		return Result{}, fmt.Errorf("draw a nonce: %w", err)
	}
	c, err := exchange.NewInitiator(cfg.Challenge.Operation, s.address(), t.knock, nonce)
	if err != nil {
		return Result{}, err
	}
	var early *earlyConn
	before := Config{CheckBefore: cfg.CheckBefore, Keep: cfg.Keep}
	watched := t.watched() && cfg.Watch != WatchNone
	if n == 1 && before.checksBefore() && watched && !cfg.Challenge.Operation.RandomPort() {
		early = beginEarly(t.service)
		defer early.close()
	}
	if err := s.sendRequest(ctx, requests, c); err != nil {
		return Result{}, &sendError{err}
	}
	cfg.Report(Requested{n, t.knock, requests.Packets(), requests.First(), requests.Last(), cfg.Challenge.AnswerPort != 0})
	found.count(t.knock, func(c *tally) { c.requested++ })
	requested := time.Now()
	answer, err := s.awaitChallenge(c, timeout, cfg.Random, found)
	if err != nil {
		return Result{}, err
	}
	found.challenged++
	found.count(t.knock, func(c *tally) { c.challenged++ })
	took := time.Since(requested)
	if err := s.sendMessage(ctx, responses, answer.Response); err != nil {
		return Result{}, &sendError{err}
	}
	cfg.Report(Answered{answer.Public, responses.Packets(), took})
	again := func() {}
	// The server ignores duplicates of these packets. With the other schemes, their order
	// matters.
	if scheme := cfg.Challenge.Response.Scheme; scheme == challenge.Sequence || scheme == challenge.Ranges {
		again = func() { s.sendMessage(ctx, responses, answer.Response) }
	}
	result := Result{Address: t.knock, Service: t.service, UDP: t.udp, Attempts: n}
	if answer.Port != 0 {
		result.Service, result.SingleUse, result.UDP = netip.AddrPortFrom(t.knock, answer.Port), true, false
		watched = true
	}
	if !watched || result.SingleUse && !cfg.Keep {
		// The response needs time to arrive.
		select {
		case <-ctx.Done():
			return Result{}, ctx.Err()
		case <-time.After(took + openTime):
			again()
			found.count(t.knock, func(c *tally) { c.opened = c.challenged }) // the client does not know more
			result.Lost = found.lost(t.knock)
			return result, nil
		}
	}
	timer := time.AfterFunc(took+responseTime, again)
	defer timer.Stop()
	var isn wire.ISN
	if cfg.Challenge.Bind == BindISN && cfg.Keep {
		isn = answer.ISN
	}
	result, err = cfg.watch(ctx, result, early, isn, found)
	if err != nil {
		s.checkAnswered(c, answer, found)
		return result, err
	}
	found.count(t.knock, func(c *tally) { c.opened++ })
	result.Lost = found.lost(t.knock)
	return result, nil
}

// watch watches the service of a result until it answers. If it does not, the result
// has its address.
func (cfg ExchangeConfig) watch(ctx context.Context, result Result, early *earlyConn, isn wire.ISN, found *exchangeFindings) (Result, error) {
	seen := watcher{
		service: result.Service, timeout: cfg.Timeout, early: early, earlier: found.before, isn: isn,
		halfOpen: !cfg.Keep && cfg.Watch != WatchConnection,
	}.wait(ctx)
	if seen.err != nil {
		found.at, found.service, found.before = result.Service, seen.err, seen.before
		return Result{Service: result.Service}, seen.err
	}
	result.Watched, result.OpenBefore = true, seen.before == beforeOpen && cfg.CheckBefore
	if result.Conn = seen.conn; !cfg.Keep {
		seen.conn.closeInOrder()
		seen.settle(ctx)
		result.Conn = nil
	}
	return result, nil
}

// responseTime is how long the service may take to answer before the client sends the
// response again.
const responseTime = 300 * time.Millisecond

// openTime is how long a server may need to open a port.
const openTime = 50 * time.Millisecond
