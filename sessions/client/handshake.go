package client

import (
	"errors"
	"fmt"
)

// Handshake is what a completed TCP handshake with a service proves.
type Handshake string

// The values of Handshake.
const (
	// HandshakeUnknown: nothing. The server may accept a connection first, and then
	// reset it since its address has no lease.
	HandshakeUnknown Handshake = ""
	// HandshakeGranted: the address has a lease. The server drops or refuses the SYN of
	// a stranger.
	HandshakeGranted Handshake = "granted"
)

// Valid reports whether h is a value of Handshake.
func (h Handshake) Valid() bool { return h == HandshakeUnknown || h == HandshakeGranted }

// check returns an error if the service has no handshake of which h could be true.
func (h Handshake) check(service string) error {
	switch s, err := ParseService(service); {
	case !h.Valid():
		return fmt.Errorf("expected handshake = \"granted\", got %q", h)
	case h == HandshakeGranted && service == "":
		return errors.New("handshake = \"granted\" requires a service")
	case h == HandshakeGranted && err == nil && s.UDP:
		return fmt.Errorf("handshake = \"granted\" requires a TCP service, got %q", service)
	}
	return nil
}
