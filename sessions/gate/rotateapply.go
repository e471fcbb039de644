package gate

import (
	"errors"
	"time"

	"sallyport/sessions/gate/access"
)

// Apply implements access.Enforcer. It may be called concurrently. It ignores changes
// that revoke a peer without a port, which is that of earlier leases of a client: no
// lease admits such a peer, and CutOff ends its connections.
func (r *Rotating) Apply(changes []access.Change) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return access.Failed(changes, ErrClosed)
	}
	parts := map[uint16][]int{}
	errs := make([]error, len(changes))
	for i, c := range changes {
		switch {
		case c.Peer.Port != 0:
			parts[c.Peer.Port] = append(parts[c.Peer.Port], i)
		case !c.Revokes():
			errs[i] = errNoDrawnPort
		}
	}
	for port, of := range parts {
		r.applyTo(port, changes, of, errs)
	}
	r.check()
	if errors.Join(errs...) == nil {
		return nil
	}
	return errs
}

var errNoDrawnPort = errors.New("the peer has no drawn port")

// applyTo applies the changes with the given indexes, which are for one port.
func (r *Rotating) applyTo(port uint16, changes []access.Change, of []int, errs []error) {
	p := r.ports[port]
	part := make([]access.Change, len(of))
	opens := false
	for i, at := range of {
		part[i] = withoutPort(changes[at])
		opens = opens || !part[i].Revokes()
	}
	if p == nil {
		if !opens {
			return
		}
		// Its minute was over before the grant came here.
		err := r.hold(port)
		if p = r.ports[port]; p == nil {
			for i, at := range of {
				if !part[i].Revokes() {
					errs[at] = err
				}
			}
			return
		}
	}
	for i, err := range p.apply(part, r.cfg.HoldOnly) {
		errs[of[i]] = err
	}
	for i, c := range part {
		switch {
		case c.Revokes():
			delete(p.peers, c.Peer)
		case errs[of[i]] == nil:
			p.peers[c.Peer] = true
		}
	}
}

func (p *drawnPort) apply(changes []access.Change, holdOnly bool) []error {
	if holdOnly {
		return nil
	}
	return p.Apply(changes)
}

// withoutPort returns a change in the form that the enforcer of its port expects: for
// that enforcer, the peers are addresses.
func withoutPort(c access.Change) access.Change {
	c.Peer = c.Peer.AnyPort()
	if c.LeaseOwners == nil {
		return c
	}
	owners := make(access.LeaseOwners, len(*c.LeaseOwners))
	for i, o := range *c.LeaseOwners {
		o.From = o.From.AnyPort()
		owners[i] = o
	}
	c.LeaseOwners = &owners
	return c
}

// check closes the ports that are over, and checks the others later.
func (r *Rotating) check() {
	wall := r.cfg.Clock.Wall()
	needed := map[uint16]bool{}
	for c, of := range r.chosen {
		if !wall.Before((c.minute + 1).Start().Add(rememberMinute)) && (of.err != nil || len(r.peersAt(of.port)) == 0) {
			delete(r.chosen, c)
		} else {
			needed[of.port] = true
		}
	}
	for port, p := range r.ports {
		if needed[port] || len(p.peers) > 0 || p.busy() {
			continue
		}
		delete(r.ports, port)
		if err := p.Close(); err != nil {
			r.cfg.Log.Error("failed to close a drawn port", "port", port, "error", err)
		}
	}
	switch {
	case len(r.ports)+len(r.chosen) == 0:
	case r.timer == nil:
		r.timer = time.AfterFunc(rotateCheck, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if !r.closed {
				r.check()
			}
		})
	default:
		r.timer.Reset(rotateCheck)
	}
}

func (r *Rotating) peersAt(port uint16) map[access.Peer]bool {
	if p := r.ports[port]; p != nil {
		return p.peers
	}
	return nil
}
