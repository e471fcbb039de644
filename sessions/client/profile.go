package client

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Profile is a client's configuration for one server.
type Profile struct {
	Server     string // host name or address
	PortSecret string
	Ports      int // n, 1 to 128
	Generator  schedule.Generator
	Identifier wire.Identifier
	Secret     []byte
	// Service is the host:port to watch. If the host is empty or that of Server, it
	// is the address to which the knocks went. Empty: there is no service to watch.
	Service string
	// FirstNonce is the first nonce on a device without a nonce file: the client may
	// have used nonces on another device.
	FirstNonce uint32
	// Challenge is for the challenge–response protocol; nil: the profile does not
	// have it. With it, the fields of the sequence protocol may be empty.
	Challenge *Challenge
}

// HasSequence reports whether the profile has the sequence protocol.
func (p Profile) HasSequence() bool { return p.PortSecret != "" }

func (p Profile) validate() error {
	switch {
	case p.Server == "":
		return errors.New("profile: the server is missing")
	case p.PortSecret == "" || len(p.Secret) == 0:
		return errors.New("profile: a secret is missing")
	case p.Ports < 1 || p.Ports > schedule.MaxPorts:
		return fmt.Errorf("profile: expected 1 to %d ports, got %d", schedule.MaxPorts, p.Ports)
	case !p.Identifier.Valid():
		return errors.New("profile: the identifier is not printable ASCII")
	}
	if p.Service == "" {
		return nil
	}
	_, _, err := SplitService(p.Service)
	return err
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
