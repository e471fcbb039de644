package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Reach is what a gateway knows of another one.
type Reach struct {
	Name  string `json:"name"`
	Heard bool   `json:"heard"` // authentic datagrams of it arrive here
	Hears bool   `json:"hears"` // those of this gateway arrive there
	// Forged: datagrams from its address are not authentic. It has another key, or another
	// host has sent them.
	Forged bool `json:"forged"`
}

// Reach returns what this gateway knows of each other one now, ordered by their IDs.
func (r *Relay) Reach() []Reach {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.node.reach(r.cfg.Now())
}

func (n *node) reach(now time.Time) (all []Reach) {
	for i := range n.peers {
		if p := &n.peers[i]; i != n.own {
			forged := !p.forged.IsZero() && now.Sub(p.forged) < Silence
			all = append(all, Reach{p.name, !p.heard.IsZero(), p.reports.has(n.own), forged})
		}
	}
	return all
}

const (
	// ProbeTime is how long Probe listens: each gateway sends a datagram on its own meanwhile.
	ProbeTime  = Beat + Beat/2
	probePause = ProbeTime / 3
)

// Probe asks the other gateways in place of this one, which must not run, for ProbeTime. They
// answer a datagram of a run that they do not know, and do not count this gateway as
// alive: they go on without it. Probe uses the name, the gateways, the key and Random.
func Probe(ctx context.Context, cfg Config) ([]Reach, error) {
	n, err := cfg.node()
	if err != nil {
		return nil, err
	}
	conn, err := listen(cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, ProbeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	go func() {
		for ctx.Err() == nil {
			for i := range n.peers {
				if i != n.own {
					conn.WriteToUDPAddrPort(n.probe(i), n.peers[i].addr) // lost ones are sent again
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(probePause):
			}
		}
	}()
	found := make([]Reach, len(n.peers))
	b := make([]byte, MaxDatagram+1)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(b)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, fmt.Errorf("relay: read: %w", err)
		}
		if err == nil {
			n.answered(found, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), b[:size])
		}
	}
	var all []Reach
	for i, r := range found {
		if r.Name = n.peers[i].name; i != n.own {
			all = append(all, r)
		}
	}
	return all, nil
}

// probe returns a datagram to a gateway without its token, so that it makes no run current.
func (n *node) probe(i int) []byte {
	p := &n.peers[i]
	p.counter++
	return header{n.peers[n.own].id, n.run, p.counter}.seal(nil, p.out, body{token: p.token}.append(nil))
}

// answered records what a datagram shows of its gateway: one with the token of the probe
// is an answer. It changes nothing of the node that probe uses.
func (n *node) answered(found []Reach, from netip.AddrPort, b []byte) {
	i, ok := n.byAddr[from]
	h, valid := parseHeader(b)
	if !ok || !valid || h.sender != n.peers[i].id {
		return
	}
	y, _, _, ok := n.open(i, h, b)
	if !ok {
		found[i].Forged = true
		return
	}
	found[i].Heard = true
	found[i].Hears = found[i].Hears || y.echo == n.peers[i].token
}
