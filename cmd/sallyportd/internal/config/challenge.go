package config

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/ingest/capture"
	"sallyport/sessions/gate/access"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// Challenge is the [challenge] table, validated, with all defaults filled in.
type Challenge struct {
	Plan             challenge.Plan
	Sockets          bool // the server binds the ports; else it captures packets to closed ones
	CarriersOnly     bool // it does neither: exchanges only travel over HTTP and DNS
	HTTP             []HTTP
	DNS              *DNS       // nil: none
	Answers          *Answers   // with transport = "tcp"; nil: packets are UDP
	Public4, Public6 netip.Addr // by which clients reach this host; zero: its own addresses
	Exchanges        int        // how many can be in progress
	Rate             int        // challenges a second
	// HostKey authenticates the server to clients of operations with public keys. nil:
	// there is no host_key_file, or Load has not read it.
	HostKey *exchange.HostKey

	// without6 is the error of the operations over IPv6, if they fit IPv4 only and
	// no address in listen requires IPv6. Config.Check returns it on a host that
	// has IPv6; elsewhere no packet arrives over IPv6.
	without6 error

	hostKeyFile string // as it is in the configuration
}

// Captured returns the packets that the server captures; nil: it captures none.
func (c *Config) Captured() *capture.Settings {
	if c.Challenge == nil || c.Challenge.Sockets || c.Challenge.CarriersOnly {
		return nil
	}
	p := c.Challenge.Plan.Ports
	return &capture.Settings{First: p.First, Last: p.Last, TCP: c.Challenge.Answers != nil, Addresses: c.Listen}
}

// PacketPorts returns the ports of requests and responses; the zero Ports: there are
// none, since exchanges only travel over HTTP and DNS.
func (ch *Challenge) PacketPorts() access.Ports {
	if ch == nil || ch.CarriersOnly {
		return access.Ports{}
	}
	return access.Ports(ch.Plan.Ports)
}

// Answers is where clients fetch challenges over TCP.
type Answers struct {
	Port     uint16
	Filtered bool // the port never replies to strangers; else it looks closed to them
}

// AnswersName names the port of challenges in the firewall. No service has this name,
// because it contains a space.
const AnswersName = "challenges of exchanges"

const (
	// AnswerTime is how long a client may take to fetch a challenge.
	AnswerTime = 2 * time.Second
	// The defaults of raw.go.
	defaultAnswerPort = 30720
	defaultAnswerLook = "closed"
	// MaxAnswerRate is the maximum number of challenges a second over TCP. With the
	// reserve, which is a quarter, all that wait at a time fit into the filter of the
	// socket (sockfilter.Max).
	MaxAnswerRate = 160
)

// answers checks the keys of transport = "tcp".
func (in *rawChallenge) answers(f *tomlfile.File, c *Config, ch *Challenge) error {
	if in.Transport != "tcp" {
		switch { // the defaults have no effect
		case in.AnswerPort != defaultAnswerPort:
			return f.Errorf("challenge.answer_port", "got %d without transport = \"tcp\"", in.AnswerPort)
		case in.AnswerLook != defaultAnswerLook:
			return f.Errorf("challenge.answer_look", "got %q without transport = \"tcp\"", in.AnswerLook)
		}
		return nil
	}
	if ch.Sockets {
		return f.Errorf("challenge.transport", "got \"tcp\" with capture = \"sockets\": a bound socket receives no SYN")
	}
	ch.Answers = &Answers{Port: uint16(in.AnswerPort), Filtered: in.AnswerLook == "filtered"}
	at := access.Ports{First: ch.Answers.Port, Last: ch.Answers.Port}
	if at.Overlaps(access.Ports(ch.Plan.Ports)) {
		return f.Errorf("challenge.answer_port", "got %d, which is one of the ports %s of requests and responses", at.First, in.Ports)
	}
	if s, _ := c.serviceIn(at, false); s != nil {
		return f.Errorf("challenge.answer_port", "got %d, which is a port of service %s", at.First, s.Name)
	}
	if access.AnyHas(c.processPorts(false), at.First) {
		return f.Errorf("challenge.answer_port", "got %d, at which the program of a service listens", at.First)
	}
	if !f.Has("challenge.challenges_per_second") {
		ch.Rate = MaxAnswerRate
	} else if ch.Rate > MaxAnswerRate {
		return f.Errorf("challenge.challenges_per_second", "got %d; with transport = \"tcp\" at most %d are possible", ch.Rate, MaxAnswerRate)
	}
	return nil
}

// hop checks that a request can end while its minute is live. signed: there may be
// operations with public keys, whose requests are longer.
func (in *rawChallenge) hop(f *tomlfile.File, c *Config, ch *Challenge, signed bool) error {
	if ch.Plan.Hop == 0 {
		return nil
	}
	if ch.Plan.Hop == 1 {
		return f.Errorf("challenge.hop", "got 1, with which nothing would move")
	}
	longest, err := ch.Plan.Request.Codec(exchange.MaxRequest)
	if signed {
		longest, err = ch.Plan.Request.SignedCodec(exchange.MaxSignedRequest)
	}
	if err != nil {
		return nil // fit has a better error, of the requests that there are
	}
	lasts := time.Duration(longest.Packets()-1) * longest.Delay()
	if at := c.Tolerance / 2; lasts > at {
		return f.Errorf("challenge.hop", "got %d, with requests that last up to %s; they may last half of clock_tolerance, %s", in.Hop, lasts, at)
	}
	return nil
}

// challenge checks the [challenge] table and the operations.
func (r *raw) challenge(f *tomlfile.File, c *Config) (err error) {
	if !f.Has("challenge") && !f.Has(httpKey(0)) && !f.Has(dnsKey) {
		if len(r.Operation) > 0 {
			return f.Errorf("challenge", "got [[operation]] tables without it")
		}
		return nil
	}
	in := r.Challenge
	ch := &Challenge{
		Sockets: in.Capture == "sockets", CarriersOnly: in.Capture == "none", Exchanges: in.Exchanges, Rate: in.Rate, hostKeyFile: in.HostKeyFile,
	}
	ch.Plan.Shared, ch.Plan.Hop = in.SharedPorts, uint16(in.Hop)
	v4, v6 := c.Listen.Families()
	ch.Plan.NoIPv4, ch.Plan.NoIPv6 = !v4, !v6
	if err := in.carriers(f, c, ch); err != nil {
		return err
	}
	if ch.CarriersOnly {
		if err := in.withoutPackets(f, ch); err != nil {
			return err
		}
	}
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
	if ch.Plan.Response, err = in.Response.Parse(f, "challenge.response.", responseBase(ch.Plan)); err != nil {
		var high *challenge.TooHighError
		if _, invalid := ch.Plan.Response.Codec(1); !ch.Plan.Shared && errors.As(invalid, &high) {
			err = hint.With(err, sharingHint)
		}
		return err
	}
	signed := func(o rawOperation) bool { return o.KeysFile != "" || len(o.Keys) > 0 }
	if err := in.hop(f, c, ch, slices.ContainsFunc(r.Operation, signed)); err != nil {
		return err
	}
	if err := in.answers(f, c, ch); err != nil {
		return err
	}
	if s, ports := c.serviceIn(ch.PacketPorts(), ch.Answers == nil); s != nil {
		return f.Errorf("challenge.ports", "got %q, which contains %s port %s of service %s",
			in.Ports, strings.ToUpper(s.Protocol()), ports, s.Name)
	}
	c.Challenge = ch
	if err := ch.checkCarriers(f, c); err != nil {
		return err
	}
	return r.operations(f, c)
}

// withoutPackets checks the keys of a server with carriers only. No packet arrives, so
// its operations need no ports. With hop, the requests have masks.
func (in *rawChallenge) withoutPackets(f *tomlfile.File, ch *Challenge) error {
	if len(ch.HTTP) == 0 && ch.DNS == nil {
		return hint.With(f.Errorf("challenge.capture", "got \"none\", with which no exchange could arrive"),
			"add a [[challenge.http]] or [challenge.dns] table, or set another capture")
	}
	for _, key := range []string{"ports", "shared_ports", "transport", "answer_port", "answer_look", "request", "response"} {
		if f.Has("challenge." + key) {
			return f.Errorf("challenge."+key, "got it with capture = \"none\", which has no packets: remove the key")
		}
	}
	ch.Plan.NoIPv4, ch.Plan.NoIPv6 = true, true
	return nil
}

// responseBase returns the default of the first port of responses: that of requests
// if they share ports, or else the port above the longest possible request in any
// minute, so that a new operation does not change it.
func responseBase(p challenge.Plan) uint16 {
	if p.Shared {
		return p.Request.Base
	}
	codec, err := p.Request.Codec(exchange.MaxRequest)
	if err != nil {
		return p.Ports.First
	}
	if next := int(codec.First()) + codec.Span() + max(int(p.Hop), 1) - 1; next <= int(p.Ports.Last) {
		return uint16(next)
	}
	return p.Ports.First
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
