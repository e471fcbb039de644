package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Profile is a client's configuration for one server.
type Profile struct {
	Server string // host name or address
	// Addresses are those of Server, as its administrator knows them, at most
	// MaxAddresses. The client needs no resolver for them.
	Addresses  []netip.Addr
	PortSecret string
	Ports      int // n, 1 to 128
	Generator  schedule.Generator
	Identifier wire.Identifier
	Secret     []byte
	// Signer signs in place of Secret, which it may hold elsewhere; nil: Secret signs.
	Signer Signer
	// Service is the service to watch, as ParseService reads it. If the host is empty
	// or that of Server, it is the address to which the knocks went. Empty: there is
	// no service to watch. A client cannot watch a UDP service.
	Service string
	// Rotation is how the port of Service is drawn, if it rotates.
	Rotation *Rotation
	Watch    Watch // how to watch the service
	Bind     Bind  // what the server binds the connection to Service to
	// ServiceName is the name of Service in the server's configuration, with
	// BindConnection.
	ServiceName string
	// OpenFor is how long the server keeps Service open after a sequence; 0: that is not
	// known.
	OpenFor   time.Duration
	Handshake Handshake // what a completed handshake with Service proves
	// Expires is when the server begins to refuse the client, as its administrator has
	// set it; zero: that is not known. Knock then sends nothing.
	Expires time.Time
	// FirstNonce is the first nonce on a device without a nonce file: the client may
	// have used nonces on another device.
	FirstNonce uint32
	// Gateways are the servers of which one suffices; AtGateways returns a profile for
	// each. With them, Server, Addresses and FirstNonce are empty. Empty: there is one
	// server, and Secret signs for it.
	Gateways []Gateway
	// Split: the knocks of each sequence go to all Gateways, knock i to number i modulo
	// their number (split.go). It requires at least two, all of which have to be reachable,
	// and to permit it ([fleet] split).
	Split bool
	// Challenge is for the challenge–response protocol; nil: the profile does not
	// have it. With it, the fields of the sequence protocol may be empty.
	Challenge *Challenge

	split *split // of a gateway's profile, with Split; nil: its knocks go to one server
}

// HasSequence reports whether the profile has the sequence protocol.
func (p Profile) HasSequence() bool { return p.PortSecret != "" }

func (p Profile) validate() error {
	switch {
	case len(p.Gateways) > 0:
		return errors.New("profile: expected that of one gateway, got that of several")
	case p.Server == "":
		return errors.New("profile: the server is missing")
	case p.PortSecret == "" || len(p.Secret) == 0 && p.Signer == nil:
		return errors.New("profile: a secret is missing")
	case p.Ports < 1 || p.Ports > schedule.MaxPorts:
		return fmt.Errorf("profile: expected 1 to %d ports, got %d", schedule.MaxPorts, p.Ports)
	case !p.Identifier.Valid():
		return errors.New("profile: the identifier is not printable ASCII")
	}
	if !p.Watch.Valid() {
		return fmt.Errorf("profile: expected a way to watch, got %q", p.Watch)
	}
	if p.OpenFor < 0 {
		return fmt.Errorf("profile: expected a time above 0 for which the service is open, got %s", p.OpenFor)
	}
	for _, err := range []error{checkAddresses(p.Server, p.Addresses), p.Bind.check(p.Service, p.ServiceName), p.Handshake.check(p.Service)} {
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	return p.checkService()
}

func (p Profile) checkService() error {
	if p.Service == "" {
		return nil
	}
	s, err := ParseService(p.Service)
	switch {
	case err != nil:
		return err
	case s.Rotates && p.Rotation == nil:
		return fmt.Errorf("profile: the service %s has no range of ports", p.Service)
	case s.Rotates:
		_, err = p.Candidates(0)
	}
	return err
}

// Service is a service of a server, as profiles name it.
type Service struct {
	Host string // empty: the server
	Port uint16
	UDP  bool
	// Rotates: each minute draws another port, and Port is 0.
	Rotates bool
}

// rotateWord is in place of the port of a service whose port rotates.
const rotateWord = "rotate"

// ParseService parses host:port or :port, and with /udp behind it the port of a UDP
// service. The port is a number, or the word "rotate".
func ParseService(s string) (Service, error) {
	address, protocol, found := strings.Cut(s, "/")
	if found && protocol != "udp" && protocol != "tcp" {
		return Service{}, fmt.Errorf("expected /udp or /tcp after the port, got %q", s)
	}
	of, rotates := strings.CutSuffix(address, ":"+rotateWord)
	if rotates {
		address = of + ":1" // to parse the host
	}
	host, port, err := SplitService(address)
	if rotates {
		port = 0
	}
	return Service{Host: host, Port: port, UDP: protocol == "udp", Rotates: rotates}, err
}

// String returns the text that ParseService parses.
func (s Service) String() string {
	port := strconv.Itoa(int(s.Port))
	if s.Rotates {
		port = rotateWord
	}
	text := net.JoinHostPort(s.Host, port)
	if s.UDP {
		text += "/udp"
	}
	return text
}

// SplitService parses host:port, or :port. The port is a number from 1.
func SplitService(s string) (host string, port uint16, err error) {
	host, name, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("expected host:port or :port, got %q", s)
	}
	if host != "" && !ValidHost(host) {
		return "", 0, fmt.Errorf("expected a host name or an address before the port, got %q", s)
	}
	n, err := strconv.ParseUint(name, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("expected a port number from 1 to 65535 after the colon, got %q", s)
	}
	return host, uint16(n), nil
}
