package config

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/fleet/relay"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// Relay has the gateways that hand packets of exchanges to each other.
type Relay struct {
	Gateways map[string]netip.AddrPort // by name, with this one
	Rate     int                       // packets a second
	Key      relay.Key                 // Load reads it

	keyFile string
}

// relay checks the keys of the relay. The keys of [challenge] and the others of [fleet] are
// known.
func (r *raw) relay(f *tomlfile.File, c *Config) error {
	if c.Fleet == nil {
		return nil
	}
	return r.Fleet.rawRelay.check(f, c)
}

func (in rawRelay) check(f *tomlfile.File, c *Config) error {
	if len(in.Relay) == 0 {
		if f.Has("fleet.relay_key_file") {
			return f.Errorf("fleet.relay", "got relay_key_file without it")
		}
		return nil
	}
	r := &Relay{Gateways: map[string]netip.AddrPort{}, Rate: in.RelayRate, keyFile: in.RelayKeyFile}
	for i, text := range in.Relay {
		name, address, _ := strings.Cut(text, "=")
		at, err := netip.ParseAddrPort(address)
		if err != nil || wire.CheckGateway(name) != nil {
			return f.Errorf("fleet.relay", "got %q (entry %d)", text, i+1)
		}
		if _, used := r.Gateways[name]; used {
			return f.Errorf("fleet.relay", "got the name %q twice", name)
		}
		r.Gateways[name] = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	if err := (relay.Config{Name: c.Fleet.Name, Gateways: r.Gateways, Rate: r.Rate}).Validate(); err != nil {
		return f.Errorf("fleet.relay", "got an invalid list: %v", err)
	}
	switch ports := c.Challenge.PacketPorts(); {
	case in.RelayKeyFile == "":
		return f.Errorf("fleet.relay_key_file", "got relay without it")
	case ports.First == 0:
		return hint.With(f.Errorf("fleet.relay", "got it without exchanges by packets"), "add a [challenge] table with a capture, or remove relay")
	case c.Challenge.Sockets && ports.Has(r.Gateways[c.Fleet.Name].Port()):
		return f.Errorf("fleet.relay", "got port %d of this gateway, which is one of the ports %s of requests and responses, which the server binds", r.Gateways[c.Fleet.Name].Port(), ports)
	}
	c.Fleet.Relay = r
	return c.checkRelayed(f)
}

// Bytes of the headers of an empty packet.
const (
	emptyIPv4 = 28
	emptyIPv6 = 48
)

// checkRelayed refuses operations with which challenges could have more bytes than the
// packets that cause them. A request to one gateway that is not the coordinator, and one
// more packet to that, cause two challenges.
func (c *Config) checkRelayed(f *tomlfile.File) error {
	plan := c.Challenge.Plan
	for _, o := range c.Operations {
		if o.Signed || c.Challenge.Answers != nil {
			continue // the requests are long, or the challenges wait to be fetched
		}
		protocol, err := exchange.DescribeOperation(o.ID, o.Algorithm, o.RandomPort)
		if err != nil {
			return err
		}
		for _, family := range []struct {
			name    string
			missing bool
			header  int
		}{{"IPv4", plan.NoIPv4, emptyIPv4}, {"IPv6", plan.NoIPv6, emptyIPv6}} {
			v6 := family.header == emptyIPv6
			codec, err := plan.Request.Codec(protocol.RequestSize(v6))
			if family.missing || err != nil {
				continue // the messages do not fit this family
			}
			if in, out := (codec.Packets()+1)*family.header, 2*(family.header+protocol.ChallengeSize(v6)); out > in {
				return hint.With(f.Errorf("fleet.relay", "got it with operation %q, whose requests over %s have only %d packets: two challenges would have more bytes, %d, than the packets, %d",
					o.ID, family.name, codec.Packets(), out, in), "set fewer data_bits in [challenge.request], or a longer ID")
			}
		}
	}
	return nil
}

// readRelay reads the key of the relay.
func (c *Config) readRelay() error {
	if c.Fleet == nil || c.Fleet.Relay == nil {
		return nil
	}
	r := c.Fleet.Relay
	text, err := c.readSecret("fleet.relay_key_file", "the key of the relay", "", r.keyFile)
	if err != nil {
		return err
	}
	if r.Key, err = relay.ParseKey(text); err != nil {
		return hint.With(c.file.Errorf("fleet.relay_key_file", "got the file %s: %v", filepath.Base(r.keyFile), err), relayKeyHint)
	}
	return nil
}

const relayKeyHint = "make one, and copy it to all gateways: (umask 077; openssl rand -hex 32 > relay.key)"

// sameRelayKey reports whether a reload would not change the key of the relay.
func (f *Fleet) sameRelayKey(next *Fleet) bool {
	return f.Relay == nil || next.Relay == nil || f.Relay.Key == next.Relay.Key
}

// PrivateRelay returns an error if an address of the relay is not one of a private
// network: its datagrams are authentic, but strangers could flood it.
func (r *Relay) PrivateRelay() error {
	for _, name := range slices.Sorted(maps.Keys(r.Gateways)) {
		at := r.Gateways[name]
		if a := at.Addr(); !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			return fmt.Errorf("the relay address %s of gateway %s is not one of a private network", at, name)
		}
	}
	return nil
}

// rawRelay is the keys of the relay in [fleet].
type rawRelay struct {
	Relay        []string `toml:"relay" expect:"a list of 2 to 16 gateways as NAME=ADDRESS:PORT in quotes, such as [\"gateway1=10.0.0.1:1024\", \"gateway2=10.0.0.2:1024\"], with this one"`
	RelayKeyFile string   `toml:"relay_key_file" expect:"the path of a file with the key that the gateways share, at least 32 characters, together with relay"`
	RelayRate    int      `toml:"relay_packets_per_second" default:"20000" range:"100..1000000" expect:"a whole number from 100 to 1000000"`
}
