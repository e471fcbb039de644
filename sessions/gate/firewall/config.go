package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/sessions/gate/access"
)

// Name is the name of the table, of the family inet. A table of this name is
// ours.
const Name = "sallyport"

// Protocol is TCP or UDP, by its number in the IP header.
type Protocol uint8

// The protocols.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// String returns the protocol's name.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Port is a guarded port of this host, or several ports that the grants of one
// service open together.
type Port struct {
	Service  access.ServiceID // whose grants open the port
	Protocol Protocol
	Address  netip.Addr // of this host, as clients address it; zero: all
	Port     uint16
	Last     uint16 // the last of a range of ports that begins with Port; zero: Port only
	More     []At   // further ports
	Hook     Hook   // where packets to it are filtered
	// Reject answers strangers as a closed port does, with a TCP reset or ICMP
	// port unreachable. Otherwise there is no answer.
	Reject bool `json:"-"`
	// Cut ends running connections with the lease: every packet to the port
	// requires the grant, and over UDP even a reply to a datagram of this host
	// does. Otherwise a connection that a grant let in may continue.
	Cut bool
	// RequireISN lets a connection in only if its SYN has the initial sequence
	// number of a grant for its address. Only a TCP port without Cut can require
	// it: later segments have other numbers.
	RequireISN bool `json:",omitempty"`
	// PrefixLen4 is the number of bits of an IPv4 address that a grant admits; zero: 32.
	// For IPv6, each grant has its own.
	PrefixLen4 int `json:",omitempty"`
	// Jump names a chain of the operator in this table; empty: none. Packets that a
	// grant lets in, and that begin a connection, run through it. It may drop them.
	// The table makes the chain if it is missing, and leaves its rules alone.
	Jump string `json:",omitempty"`
	// Drawn are the ports that may be drawn for a service whose port rotates, as
	// disjoint ranges; empty: the port is fixed. Each grant opens one of them, its
	// access.Peer.Port, which is redirected to Port. With Port 0, the server itself
	// listens on the drawn ports: see drawn.go.
	Drawn []access.Ports `json:",omitempty"`
	// Listener is a port of this host at which the server itself listens, to which
	// connections of admitted peers to Port are redirected: see listener.go. Zero: the
	// peers reach Port.
	Listener uint16 `json:",omitempty"`
}

// Hook is where packets to a port are filtered.
type Hook uint8

// The hooks. Each guards all packets that the later ones guard, and more.
const (
	// HookPrerouting guards the port as clients address it, before any
	// translation, whether the packet goes to a socket of this host, or by DNAT
	// or redirect to another port or host. It also guards packets that the
	// translation of another port sends to this one.
	HookPrerouting Hook = iota
	// HookForward guards packets that arrive at sockets of this host, and
	// packets that DNAT forwards from the port to another host.
	HookForward
	// HookInput guards only packets that arrive at sockets of this host.
	HookInput
)

// At is a port, or a range of ports, at an address of this host; zero: at all.
type At struct {
	Address netip.Addr
	Ports   access.Ports
}

// Overlaps reports whether both include a port of one address.
func (a At) Overlaps(other At) bool {
	return a.Ports.Overlaps(other.Ports) &&
		(!a.Address.IsValid() || !other.Address.IsValid() || a.Address == other.Address)
}

// All returns where the port is guarded: at Port, and at More. There is no such place
// if the server listens on drawn ports.
func (p Port) All() []At {
	if p.listens() {
		return nil
	}
	first := At{p.Address, access.Ports{First: p.Port, Last: max(p.Port, p.Last)}}
	return append([]At{first}, p.More...)
}

// has reports whether a port is one of these, at any address.
func (p Port) has(port uint16) bool {
	return p.Port <= port && port <= max(p.Port, p.Last) ||
		slices.ContainsFunc(p.More, func(a At) bool { return a.Ports.Has(port) })
}

// single reports whether it is one port.
func (p Port) single() bool { return p.Last <= p.Port && len(p.More) == 0 }

// name returns the name of the port's chain. No other service has the same first
// port.
func (p Port) name() string {
	if p.listens() {
		return fmt.Sprintf("%s_%s", p.Protocol, p.Service)
	}
	name := fmt.Sprintf("%s_%d", p.Protocol, p.Port)
	if p.Last > p.Port {
		name += fmt.Sprintf("_%d", p.Last)
	}
	if len(p.More) > 0 {
		name += "_etc"
	}
	return name
}

// text describes the ports for errors.
func (p Port) text() string {
	if p.listens() {
		return fmt.Sprintf("drawn %s ports", p.Protocol)
	}
	var all []string
	for _, a := range p.All() {
		all = append(all, a.Ports.String())
	}
	if p.single() {
		return fmt.Sprintf("%s port %s", p.Protocol, all[0])
	}
	return fmt.Sprintf("%s ports %s", p.Protocol, strings.Join(all, ", "))
}

// Config describes the table.
type Config struct {
	Ports []Port // at most MaxPorts, ranges and the ports of lists included
	// Trusted are the peers that reach a service without a grant. They may change
	// while the table exists, and so may Stealth, Except and Port.Reject: none of
	// them is part of the digest on which server and holder agree.
	Trusted map[access.ServiceID]Trusted `json:"-"`
	// Trial has the services, and stealth, that are on trial. It is not part of the
	// digest.
	Trial Trial `json:"-"`
	// Stealth drops all unsolicited UDP from other hosts to ports from
	// schedule.MinPort that are neither knock ports nor guarded, so that knock
	// ports are as silent as their neighbours.
	Stealth bool     `json:"-"`
	Except  []uint16 `json:"-"` // ports that Stealth leaves alone: other UDP services of this host
	// Users are those whose programs on this host may connect to a port behind a
	// Listener: the server's, and root.
	Users []uint32 `json:"-"`
	// Captured are UDP ports of this host, the first and the last; zero: none.
	// The server captures empty packets to them before any filter, and
	// conntrack does not track these packets, nor the answers with AnswerMark.
	Captured [2]uint16
}

// AnswerMark is the mark (SO_MARK) of packets that answer captured ones.
const AnswerMark = 0x5a11

// MaxPorts is the number of ports that a table can guard; a range counts as one. A
// packet to no guarded port is compared with each.
const MaxPorts = 64

// PortError is an error of the port at the index Place of Config.Ports.
type PortError struct {
	Place int
	Port  Port
	// Other is the index of a port that has one in common with it; -1: there is none.
	Other int
	Err   error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("%s: %v", e.Port.text(), e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// Validate returns an error if the configuration is invalid, a PortError if a
// port is.
func (c Config) Validate() error {
	n := 0
	for _, p := range c.Ports {
		n += max(len(p.All()), 1)
		if p.proxied() {
			n++
		}
	}
	if n > MaxPorts {
		return fmt.Errorf("expected at most %d guarded ports and ranges of ports, got %d", MaxPorts, n)
	}
	services := make([]access.ServiceID, len(c.Ports))
	for i, p := range c.Ports {
		services[i] = p.Service
		if err := p.validate(); err != nil {
			return &PortError{i, p, -1, err}
		}
		for j, other := range c.Ports[:i] {
			// A grant names a port by its protocol and number only.
			if p.overlaps(other) {
				return &PortError{i, p, j, errors.New("it is guarded twice, at one address or at several: guard it once, for all addresses")}
			}
		}
	}
	if err := c.validateListeners(); err != nil {
		return err
	}
	for _, of := range c.Trusted {
		if err := of.Validate(); err != nil {
			return err
		}
	}
	if err := c.validateTrial(); err != nil {
		return err
	}
	return access.Distinct(services)
}

// overlaps reports whether both include a port, at any address.
func (p Port) overlaps(other Port) bool {
	if p.Protocol != other.Protocol {
		return false
	}
	for _, a := range p.All() {
		if slices.ContainsFunc(other.All(), func(b At) bool { return a.Ports.Overlaps(b.Ports) }) {
			return true
		}
	}
	return false
}

func (p Port) validate() error {
	switch {
	case p.Protocol != TCP && p.Protocol != UDP:
		return fmt.Errorf("expected TCP or UDP, got %s", p.Protocol)
	case p.RequireISN && (p.Protocol != TCP || p.Cut):
		return errors.New("only a TCP port whose connections outlive their leases can require an initial sequence number")
	case !p.validPrefix():
		return fmt.Errorf("expected grants of 16 to 32 bits of an IPv4 address, 32 with an initial sequence number, "+
			"and 16, 24 or 32 with drawn ports, got %d", p.PrefixLen4)
	case p.Jump != "" && ValidateJump(p.Jump) != nil:
		return fmt.Errorf("expected the name of a chain of the operator, %w", ValidateJump(p.Jump))
	case p.Hook > HookInput:
		return fmt.Errorf("unknown hook %d", p.Hook)
	case p.Last != 0 && p.Last < p.Port:
		return fmt.Errorf("expected a range of ports, got %d-%d", p.Port, p.Last)
	}
	if err := errors.Join(p.validateDrawn(), p.validateListener()); err != nil {
		return err
	}
	all := p.All()
	for i, a := range all {
		if err := a.validate(); err != nil {
			return err
		}
		if slices.ContainsFunc(all[:i], a.Overlaps) {
			return fmt.Errorf("it contains ports %s twice", a.Ports)
		}
	}
	return nil
}

// prefixLen4 is PrefixLen4, never zero.
func (p Port) prefixLen4() int { return cmp.Or(p.PrefixLen4, access.PrefixHost4) }

func (p Port) validPrefix() bool {
	switch n := p.prefixLen4(); {
	case p.RequireISN:
		return n == access.PrefixHost4
	case p.rotates():
		return n >= access.PrefixMin4 && n <= access.PrefixHost4 && n%8 == 0
	default:
		return n >= access.PrefixMin4 && n <= access.PrefixHost4
	}
}

func (a At) validate() error {
	switch {
	case a.Ports.First == 0:
		return errors.New("expected a port from 1 to 65535, got 0")
	case !a.Ports.IsValid():
		return fmt.Errorf("expected a range of ports, got %s", a.Ports)
	case a.Address.IsMulticast() || a.Address.Is4In6():
		return fmt.Errorf("expected the address of a host, got %s", a.Address)
	case a.Address.IsUnspecified():
		return fmt.Errorf("no packet has the address %s: omit it for all addresses", a.Address)
	}
	return nil
}

// guards reports whether a UDP port is guarded.
func (c Config) guards(port uint16) bool {
	for _, p := range c.Ports {
		if p.Protocol == UDP && p.has(port) {
			return true
		}
	}
	return false
}

// forwards reports whether some port is guarded where packets are forwarded.
func (c Config) forwards() bool {
	return slices.ContainsFunc(c.Ports, func(p Port) bool { return p.Hook != HookInput })
}

// filtersReplies reports whether replies to the port require a grant too. If
// conntrack has forgotten a connection, it tracks it again from the next packet
// of either end (nf_conntrack_tcp_loose): if this host sends that packet, all
// later packets of the client count as replies. For TCP a SYN proves which end
// began. UDP has no such proof.
func (p Port) filtersReplies() bool { return p.Protocol == TCP || p.Cut || p.rotates() }
