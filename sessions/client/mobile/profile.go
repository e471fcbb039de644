package mobile

import (
	"context"
	"fmt"

	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// Profile is a client's configuration for one server.
type Profile struct{ p client.Profile }

// NewProfile parses the text of a profile's file, which is TOML. The error names the key
// and the expected value, and no secret.
func NewProfile(text string) (*Profile, error) {
	p, err := profilefile.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return &Profile{p}, nil
}

// CountGateways returns how many gateways the profile names; 0: it has one server. With
// gateways, an app knocks with the profile of one of them, and if that fails, of the next.
func (p *Profile) CountGateways() int { return len(p.p.Carriers()) }

// Gateway returns the profile of a gateway, from 0.
func (p *Profile) Gateway(index int) (*Profile, error) {
	if n := p.CountGateways(); index < 0 || index >= n {
		return nil, fmt.Errorf("expected the number of a gateway below %d, got %d", n, index)
	}
	all, err := p.p.AtGateways(context.Background())
	if err != nil {
		return nil, err
	}
	return &Profile{all[index]}, nil
}

// GatewayName returns the name of a gateway, from 0; empty: there is none.
func (p *Profile) GatewayName(index int) string {
	if index < 0 || index >= p.CountGateways() {
		return ""
	}
	return p.p.Carriers()[index].Name
}

// Server returns the host name or the address of the server; empty: there are gateways.
func (p *Profile) Server() string { return p.p.Server }

// Client returns the identifier of the client; empty: the profile has only the
// challenge–response protocol.
func (p *Profile) Client() string {
	if !p.p.HasSequence() {
		return ""
	}
	return p.p.Identifier.String()
}

// Operation returns the public name of the operation; empty: the profile has only the
// sequence protocol.
func (p *Profile) Operation() string {
	if p.p.Challenge == nil {
		return ""
	}
	return p.p.Challenge.Operation.ID()
}

// Service returns the service that opens, as host:port or :port, with /udp behind it for
// a UDP service; empty: the profile names none.
func (p *Profile) Service() string {
	if !p.p.HasSequence() {
		return p.p.Challenge.Service
	}
	return p.p.Service
}

// OpenForMillis returns how long the server keeps the service open after a knock, in
// milliseconds; 0: that is not known.
func (p *Profile) OpenForMillis() int64 {
	if !p.p.HasSequence() {
		return p.p.Challenge.OpenFor.Milliseconds()
	}
	return p.p.OpenFor.Milliseconds()
}
