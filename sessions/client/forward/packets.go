package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// maxDatagram is enough for each datagram.
const maxDatagram = 1 << 16

// flowKey is a program's socket, and the local socket to which it sends.
type flowKey struct {
	socket PacketConn
	from   netip.AddrPort
}

// receive reads the datagrams of a socket.
func (s *server) receive(ctx context.Context, r *route, socket PacketConn) {
	b := make([]byte, maxDatagram)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			// On some systems, this is an ICMP error for an earlier answer.
			sleep(ctx, acceptPause)
			continue
		}
		s.flowOf(ctx, r, flowKey{socket, from}).send(b[:n])
	}
}

// flowOf returns a flow, which it begins if there is none. If there are too many, it
// ends one: without answers, if there is such a flow, and of these the longest idle one.
func (s *server) flowOf(ctx context.Context, r *route, k flowKey) *flow {
	s.flowLock.Lock()
	defer s.flowLock.Unlock()
	if f := s.flows[k]; f != nil {
		return f
	}
	if len(s.flows) >= s.cfg.MaxFlows {
		victim := s.leastUseful()
		victim.end()
		delete(s.flows, victim.flowKey)
		s.failed(ctx, r, fmt.Errorf("%d flows of datagrams are open, which is the maximum: a new one ends the longest idle one", s.cfg.MaxFlows))
	}
	f := &flow{flowKey: k, server: s, route: r, last: time.Now()}
	f.ctx, f.end = context.WithCancel(ctx)
	s.flows[k] = f
	s.running.Go(f.run)
	return f
}

// leastUseful returns the flow that ends for a new one.
func (s *server) leastUseful() (victim *flow) {
	var worst usefulness
	for _, f := range s.flows {
		if u := f.usefulness(); victim == nil || u.below(worst) {
			victim, worst = f, u
		}
	}
	return victim
}

// usefulness orders flows.
type usefulness struct {
	answered bool
	last     time.Time // of its last datagram
}

func (u usefulness) below(v usefulness) bool {
	if u.answered != v.answered {
		return !u.answered
	}
	return u.last.Before(v.last)
}

// forget removes a flow that has ended.
func (s *server) forget(f *flow) {
	s.flowLock.Lock()
	defer s.flowLock.Unlock()
	if s.flows[f.flowKey] == f {
		delete(s.flows, f.flowKey)
	}
}
