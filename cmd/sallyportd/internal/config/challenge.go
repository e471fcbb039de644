package config

import (
	"net/netip"
	"strconv"
	"strings"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// Challenge is [challenge]: everything checked, nothing default.
type Challenge struct {
	Plan             challenge.Plan
	Sockets          bool       // its ports are bound; else what comes to closed ones is captured
	Public4, Public6 netip.Addr // by which clients know this host; zero: by its own
	Exchanges        int        // for which there is room
	Rate             int        // challenges a second
}

// challenge checks [challenge] and the operations.
func (r *raw) challenge(f *tomlfile.File, c *Config) (err error) {
	if !f.Has("challenge") {
		if len(r.Operation) > 0 {
			return f.Errorf("challenge", "got operations, and no [challenge] that says how clients ask for them")
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
		// Two sockets cannot have one port; a capture takes nothing away.
		ch.Plan.Reserved = &challenge.Ports{First: schedule.MinPort, Last: schedule.MaxPort}
	}
	if err := in.publicAddresses(f, ch); err != nil {
		return err
	}
	if ch.Plan.Request, err = in.Request.Parse(f, "challenge.request.", ch.Plan.Ports.First); err != nil {
		return err
	}
	// The longest request is a whole one of all that there can be.
	next := ch.Plan.Ports.First
	if codec, err := ch.Plan.Request.Codec(exchange.MaxRequest); err == nil && codec.Last() < ch.Plan.Ports.Last {
		next = codec.Last() + 1
	}
	if ch.Plan.Response, err = in.Response.Parse(f, "challenge.response.", next); err != nil {
		return err
	}
	if s := c.overlaps(ch.Plan.Ports); s != nil {
		return f.Errorf("challenge.ports", "got %q, among which is UDP port %d of service %s", in.Ports, s.Port(), s.Name)
	}
	c.Challenge = ch
	return r.operations(f, c)
}

func portRange(text string) (p challenge.Ports, ok bool) {
	first, last, ok := strings.Cut(text, "-")
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	return challenge.Ports{First: uint16(low), Last: uint16(high)}, ok && err1 == nil && err2 == nil && low > 0 && high >= low
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
			return f.Errorf("challenge.public_address", "got %q in place %d", text, i+1)
		}
		*field = a
	}
	return nil
}
