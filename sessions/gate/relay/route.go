package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// Times of a flow whose upstream is a name.
const (
	// checkTime is the time between two checks of the upstream's addresses.
	checkTime = 15 * time.Second
	// roundTime is the time in which each address is tried once.
	roundTime = time.Second
)

// route is the upstream's address that a flow uses, and those to try next. It
// belongs to the goroutine of the flow.
type route struct {
	*flow
	upstream *upstream
	conn     *net.UDPConn
	address  netip.AddrPort
	next     []netip.AddrPort // not tried yet
	round    time.Duration    // when the addresses were looked up for next
	answered time.Duration    // when the last answer came; negative: none came
	back     int64            // bytes of answers
	absent   int              // checks in a row without the address
	fixed    bool             // the upstream is an address, not a name
}

// begin finds the upstream, and sends it the waiting datagrams.
func (r *route) begin() error {
	r.answered = -1
	all, err := r.upstream.addresses(r.ctx, newFlowAge)
	if err != nil {
		return err
	}
	_, err = netip.ParseAddrPort(r.upstream.name)
	r.fixed = err == nil
	r.next, r.round = all, r.relay.now()
	return r.move()
}

// move connects to the next address to which this host has a route.
func (r *route) move() (err error) {
	for len(r.next) > 0 {
		a := r.next[0]
		r.next = r.next[1:]
		var conn *net.UDPConn
		if conn, err = r.connect(a, len(r.next) > 0); err == nil {
			r.conn, r.address, r.absent, r.answered = conn, a, 0, -1
			r.logBegin()
			return r.wake()
		}
	}
	return err
}

// wake sets when the next Read ends without an answer.
func (r *route) wake() error {
	left := r.left(r.relay.now())
	if !r.fixed {
		left = min(left, r.relay.cfg.checkTime)
	}
	return r.conn.SetReadDeadline(deadline(left))
}

// relayAnswers relays answers until the flow ends.
func (r *route) relayAnswers() {
	buffer := make([]byte, readBuffer)
	for {
		n, err := r.conn.Read(buffer)
		switch {
		case err == nil && !r.owned(r.conn):
			return
		case err == nil:
			r.touch()
			r.received(n)
			r.socket.write(buffer[:n], r.client, r.answer)
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The deadline is set before the error is read: a later error sets it
			// again.
			if r.left(r.relay.now()) <= 0 || r.wake() != nil {
				return
			}
			if err := r.sendError(); err != nil {
				r.refused(err)
			} else if !r.fixed {
				r.check()
			}
		case errors.Is(err, syscall.EMSGSIZE): // a report on the path, not on a datagram
			r.drainErrors()
		default:
			r.refused(err)
		}
	}
}

// received counts an answer.
func (r *route) received(n int) {
	r.back += int64(n)
	if r.answered < 0 {
		r.forget()
		r.upstream.answered(r.address)
		r.relay.logUpstream(r.upstream.name, nil, false)
	}
	r.answered = time.Duration(r.last.Load())
}

// refused follows an ICMP error, or an error of this host: it tries the next
// address, each once in roundTime. If there is no other, the flow stays, since the
// upstream may listen again later.
func (r *route) refused(err error) {
	r.drainErrors()
	r.checked.Store(-int64(ownerPause)) // the next datagram may go to another program
	r.answered = -1
	if len(r.next) == 0 {
		r.relay.logUpstream(r.upstream.name, err, r.ctx.Err() != nil)
		r.beginRound()
	}
	if len(r.next) > 0 && r.move() == nil {
		return
	}
	time.Sleep(pause)
}

// beginRound finds the addresses to try after all were tried.
func (r *route) beginRound() {
	if r.fixed || r.relay.now()-r.round < roundTime {
		return
	}
	r.round = r.relay.now()
	if all, err := r.upstream.addresses(r.ctx, newFlowAge); err == nil {
		r.next = without(all, r.address)
	}
}

// check follows a name that has got other addresses. A flow whose upstream is
// silent moves at once, another one after the second check. A flow that never got
// an answer tries the next address.
func (r *route) check() {
	all, err := r.upstream.addresses(r.ctx, r.relay.cfg.checkAge)
	if err != nil {
		return // the old address is the only one known
	}
	silent := time.Duration(r.last.Load()) > r.answered
	rest := without(all, r.address)
	switch {
	case len(rest) == len(all):
		if r.absent++; r.absent < 2 && !silent {
			return
		}
	case r.answered >= 0 || len(rest) == 0:
		r.absent = 0
		return
	}
	r.forget()
	r.next = rest
	r.move() // if it fails, the flow stays
}

func without(all []netip.AddrPort, a netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(all), func(b netip.AddrPort) bool { return a == b })
}

// logBegin maps a flow to its client, since the upstream sees an address of this
// host only. A flow that moves has another such line.
func (r *route) logBegin() {
	if log := r.audit(); log != nil {
		log.Debug("flow began", "local", r.conn.LocalAddr(), "upstream", r.address)
	}
}

func (r *route) logEnd() {
	if log := r.audit(); log != nil {
		r.mu.Lock()
		sent := r.sent
		r.mu.Unlock()
		log.Debug("flow ended", "local", r.conn.LocalAddr(), "upstream", r.address, "to_upstream", sent, "to_client", r.back)
	}
}

// audit returns the log with the client of a flow. nil: the level is higher.
func (r *route) audit() *slog.Logger {
	log := r.relay.cfg.Log
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return nil
	}
	return log.With("client", r.owners.String(), "address", r.client, "listen", r.socket.conn.LocalAddr())
}
