package config

import (
	"net/netip"
	"strconv"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/ingest/capture"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// Challenge is the [challenge] table, validated, with all defaults filled in.
type Challenge struct {
	Plan             challenge.Plan
	Sockets          bool       // the server binds the ports; else it captures packets to closed ones
	Public4, Public6 netip.Addr // by which clients reach this host; zero: its own addresses
	Exchanges        int        // how many can be in progress
	Rate             int        // challenges a second
}

// Captured returns the packets that the server captures; nil: it captures none.
func (c *Config) Captured() *capture.Settings {
	if c.Challenge == nil || c.Challenge.Sockets {
		return nil
	}
	p := c.Challenge.Plan.Ports
	return &capture.Settings{First: p.First, Last: p.Last, Addresses: c.Listen}
}

// challenge checks the [challenge] table and the operations.
func (r *raw) challenge(f *tomlfile.File, c *Config) (err error) {
	if !f.Has("challenge") {
		if len(r.Operation) > 0 {
			return f.Errorf("challenge", "got [[operation]] tables without it")
		}
		return nil
	}
	in := r.Challenge
	ch := &Challenge{Sockets: in.Capture == "sockets", Exchanges: in.Exchanges, Rate: in.Rate}
	var ok bool
	if ch.Plan.Ports, ok = portRange(in.Ports); !ok {
		return f.Errorf("challenge.ports", "got %q", in.Ports)
	}
	if ch.Sockets {
		// Two sockets cannot be bound to one port; a capture leaves ports free.
		ch.Plan.Reserved = &challenge.Ports{First: schedule.MinPort, Last: schedule.MaxPort}
	}
	if err := in.publicAddresses(f, ch); err != nil {
		return err
	}
	if ch.Plan.Request, err = in.Request.Parse(f, "challenge.request.", ch.Plan.Ports.First); err != nil {
		return err
	}
	// By default, responses begin above the ports of the longest request.
	next := ch.Plan.Ports.First
	if codec, err := ch.Plan.Request.Codec(exchange.MaxRequest); err == nil && codec.Last() < ch.Plan.Ports.Last {
		next = codec.Last() + 1
	}
	if ch.Plan.Response, err = in.Response.Parse(f, "challenge.response.", next); err != nil {
		return err
	}
	if s, ports := c.udpServiceIn(ch.Plan.Ports); s != nil {
		return f.Errorf("challenge.ports", "got %q, which contains UDP port %s of service %s",
			in.Ports, ports, s.Name)
	}
	c.Challenge = ch
	return r.operations(f, c)
}

func portRange(text string) (p challenge.Ports, ok bool) {
	first, last, ok := strings.Cut(text, "-")
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	ok = ok && err1 == nil && err2 == nil && low > 0 && high >= low
	return challenge.Ports{First: uint16(low), Last: uint16(high)}, ok
}

func (in *rawChallenge) publicAddresses(f *tomlfile.File, ch *Challenge) error {
	for i, text := range in.PublicAddress {
		a, err := netip.ParseAddr(text)
		a = a.Unmap()
		field := &ch.Public4
		if a.Is6() {
			field = &ch.Public6
		}
		if err != nil || field.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return f.Errorf("challenge.public_address", "got %q (entry %d)", text, i+1)
		}
		*field = a
	}
	return nil
}
