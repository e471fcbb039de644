package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/sessions/gate/access"
)

// Name is the name of the table, of the family inet. What is called so is ours.
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

// Port is a guarded port of this host.
type Port struct {
	Service  access.ServiceID // whose grants open it
	Protocol Protocol
	Address  netip.Addr // of this host, as clients reach it; zero: all
	Port     uint16
	Hook     Hook // where packets to it are judged
	// Reject answers strangers as a closed port does, by a TCP reset or ICMP
	// port unreachable. Otherwise there is no answer.
	Reject bool
	// Cut ends running connections with the lease: every packet to the port
	// needs the grant, over UDP even of an exchange that this host began.
	// Otherwise a connection that a grant has let in lives on.
	Cut bool
}

// Hook is where packets to a port are judged.
type Hook uint8

// The hooks. Each guards what those after it guard, and more.
const (
	// HookPrerouting guards the port as clients ask for it, before any
	// translation, wherever it leads: to a socket of this host, or by DNAT or
	// redirect to another port or host. It also guards what arrives at the
	// port by the translation of another one.
	HookPrerouting Hook = iota
	// HookForward guards what arrives at sockets of this host, and what DNAT
	// leads away from the port.
	HookForward
	// HookInput guards only what arrives at sockets of this host.
	HookInput
)

// name is what the port's chain is called.
func (p Port) name() string { return fmt.Sprintf("%s_%d", p.Protocol, p.Port) }

// Config is what the table does, but for how it tells the time.
type Config struct {
	Ports []Port // at most MaxPorts
	// Stealth drops all unsolicited UDP from elsewhere to ports from
	// schedule.MinPort that neither take knocks nor are guarded, so that knock ports are as
	// silent as their neighbours.
	Stealth bool
	Except  []uint16 // ports that Stealth leaves alone: other UDP services of this host
	// Captured are UDP ports of this host, the first and the last; zero: none.
	// Empty packets to them are captured, whatever becomes of them, and make
	// no connections. Nor do answers with AnswerMark.
	Captured [2]uint16
}

// AnswerMark is the mark (SO_MARK) of packets that answer captured ones.
const AnswerMark = 0x5a11

// MaxPorts is how many ports a table guards. A packet to none of them is
// compared with each.
const MaxPorts = 64

// PortError says what is wrong with the port in a place of Config.Ports.
type PortError struct {
	Place int
	Port  Port
	Err   error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("%s port %d: %v", e.Port.Protocol, e.Port.Port, e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// Validate says what of the configuration cannot be: of a port, by a PortError.
func (c Config) Validate() error {
	if len(c.Ports) > MaxPorts {
		return fmt.Errorf("%d ports are to be guarded, where %d are the most", len(c.Ports), MaxPorts)
	}
	seen := make(map[string]bool, len(c.Ports))
	services := make([]access.ServiceID, len(c.Ports))
	for i, p := range c.Ports {
		services[i] = p.Service
		if err := p.validate(); err != nil {
			return &PortError{i, p, err}
		}
		// Grants know a port by its protocol and number alone.
		if seen[p.name()] {
			return &PortError{i, p, errors.New("it is guarded twice, at whichever address: guard it once, for all of them")}
		}
		seen[p.name()] = true
	}
	return access.Distinct(services)
}

func (p Port) validate() error {
	switch {
	case p.Protocol != TCP && p.Protocol != UDP:
		return errors.New("the protocol is neither TCP nor UDP")
	case p.Port == 0:
		return errors.New("there is no such port")
	case p.Hook > HookInput:
		return errors.New("there is no such hook")
	case p.Address.IsMulticast() || p.Address.Is4In6():
		return fmt.Errorf("%s is no address of a host", p.Address)
	case p.Address.IsUnspecified():
		return fmt.Errorf("%s stands for no packet's address: leave it out", p.Address)
	}
	return nil
}

// guards reports whether a UDP port is guarded.
func (c Config) guards(port uint16) bool {
	for _, p := range c.Ports {
		if p.Protocol == UDP && p.Port == port {
			return true
		}
	}
	return false
}

// forwards reports whether some port is guarded where packets are forwarded.
func (c Config) forwards() bool {
	return slices.ContainsFunc(c.Ports, func(p Port) bool { return p.Hook != HookInput })
}

// judgesReplies reports whether packets to the port are not let in for being
// replies. A connection that the kernel has forgotten is tracked anew from
// the next packet of either end (nf_conntrack_tcp_loose): if that is this
// host's, what the client sends would be replies for ever. Of TCP a SYN proves
// who began. UDP has no such proof.
func (p Port) judgesReplies() bool { return p.Protocol == TCP || p.Cut }
