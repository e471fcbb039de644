package firewall

import (
	"errors"
	"fmt"

	"sallyport/sessions/gate/access"
)

// A port with a Listener belongs to another program, and the server stands before it:
//
//	a SYN of an admitted peer to Port   redirected to Listener, with labels 101 and 105
//	Listener                            accepts connections with label 105 only
//	Port                                accepts no packet of another host
//	this host                           the server's users and root connect to Port,
//	                                    and no program to Listener
//
// So the program gets only connections that the server makes: also after the server has
// died, and while its listener is closed.

// proxied reports whether the server stands before the port.
func (p Port) proxied() bool { return p.Listener != 0 }

// listenerAt returns the port of the listener, if there is one.
func (p Port) listenerAt() []At {
	if !p.proxied() {
		return nil
	}
	return []At{{p.Address, access.Ports{First: p.Listener, Last: p.Listener}}}
}

// validateListener is validate for what concerns the listener.
func (p Port) validateListener() error {
	switch {
	case !p.proxied():
		return nil
	case p.Protocol != TCP || !p.single() || p.Hook != HookPrerouting || p.rotates():
		return errors.New("only one fixed TCP port, guarded at prerouting, can have a listener before it")
	case p.Cut || p.RequireISN || p.Jump != "":
		return errors.New("the server carries the connections behind a listener: no rule can cut them, compare their numbers or jump")
	}
	return nil
}

// validateListeners checks that no other port is that of a listener, and that no peer
// reaches the port behind it without a grant.
func (c Config) validateListeners() error {
	for i, p := range c.Ports {
		for j, other := range c.Ports {
			if p.proxied() && other.Protocol == TCP && (other.has(p.Listener) || i != j && other.Listener == p.Listener) {
				return &PortError{i, p, j, fmt.Errorf("its listener has port %d, which is guarded too", p.Listener)}
			}
		}
		if p.proxied() && c.Trusted[p.Service].String() != "" {
			return &PortError{i, p, -1, errors.New("a trusted peer cannot reach a port behind a listener")}
		}
	}
	return nil
}
