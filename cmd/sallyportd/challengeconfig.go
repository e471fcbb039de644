package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/exchanges"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// fileChallenge is [challenge] as it is written.
type fileChallenge struct {
	Ports         string           `toml:"ports" expect:"a range of UDP ports in quotes, such as \"16384-30719\""`
	Capture       string           `toml:"capture" expect:"\"packet\" or \"sockets\""`
	PublicAddress []string         `toml:"public_address" expect:"a list of the addresses by which clients know this host, at most one of IPv4 and one of IPv6"`
	Exchanges     int              `toml:"exchanges" expect:"how many exchanges there is room for, a whole number from 8 to 1048576"`
	Rate          int              `toml:"challenges_per_second" expect:"a whole number from 1 to 1000000"`
	Request       profile.Encoding `toml:"request" expect:"a table with an encoding"`
	Response      profile.Encoding `toml:"response" expect:"a table with an encoding"`
}

// fileOperation is an [[operation]].
type fileOperation struct {
	ID         string   `toml:"id" expect:"a public name of 5 to 16 bytes, in quotes"`
	Secret     string   `toml:"secret" expect:"the operation's secret, as text in quotes; or secret_file instead"`
	SecretFile string   `toml:"secret_file" expect:"the path of a file with the operation's secret"`
	Algorithm  int      `toml:"algorithm" expect:"1, 2 or 3"`
	Service    string   `toml:"service" expect:"the name of a service"`
	Action     string   `toml:"action" expect:"\"open\" or \"close\""`
	OpenFor    string   `toml:"open_for" expect:"a duration such as \"30s\", at least a second, and not longer than the service's open_max"`
	Port       string   `toml:"port" expect:"\"service\" or \"random\""`
	Client     string   `toml:"client" expect:"the identifier of a client in the clients file"`
	From       []string `toml:"from" expect:"a list of networks in quotes, such as [\"192.0.2.0/24\", \"2001:db8::/32\"]"`
}

// defaultChallenge has requests of at most 36 packets in 9216 ports, and
// responses of 20 in 5120 above them.
var defaultChallenge = fileChallenge{
	Ports: "16384-30719", Capture: "packet", Exchanges: exchanges.DefaultSlots, Rate: exchanges.DefaultRate,
	Request: profile.Encoding{Scheme: "ranges", DataBits: 8}, Response: profile.Encoding{Scheme: "ranges", DataBits: 8},
}

// challengeConfig is the second protocol: everything checked, nothing default.
type challengeConfig struct {
	plan             challenge.Plan
	sockets          bool
	public4, public6 netip.Addr
	slots, rate      int
}

// text tells configurations apart.
func (c *challengeConfig) text() string {
	if c == nil {
		return "none"
	}
	return fmt.Sprint(c.plan.Request, c.plan.Response, c.plan.Ports, c.sockets, c.public4, c.public6, c.slots, c.rate)
}

// operationConfig is what clients can ask for by it.
type operationConfig struct {
	id, secret string
	algorithm  exchange.Algorithm
	service    int
	close      bool
	openFor    time.Duration // 0: as the service says
	random     bool          // port
	client     string        // empty: whoever has the secret
	from       []netip.Prefix
}

// allows reports whether an address may use it.
func (o operationConfig) allows(a netip.Addr) bool {
	for _, p := range o.from {
		if p.Contains(a.WithZone("")) {
			return true
		}
	}
	return len(o.from) == 0
}

// describe says what an operation is, in a line.
func (o operationConfig) describe(s serviceConfig) string {
	what := "opens service " + s.name
	switch {
	case o.close:
		what = "closes service " + s.name
	case o.openFor != 0:
		what += " for " + o.openFor.String()
	}
	if o.random {
		what += ", at a random port"
	}
	who := "whoever has its secret"
	if o.client != "" {
		who = "client " + o.client
	}
	if len(o.from) > 0 {
		who += ", from " + strings.Trim(fmt.Sprint(o.from), "[]")
	}
	return fmt.Sprintf("%s: %s, by Algorithm %d, for %s", o.id, what, o.algorithm, who)
}

// operationsOf are operations as the protocol knows them.
func operationsOf(list []operationConfig) (all []*exchange.Operation, err error) {
	for _, o := range list {
		op, err := exchange.NewOperation(o.id, o.secret, o.algorithm, o.random)
		if err != nil {
			return nil, fmt.Errorf("operation %q: %w", o.id, err)
		}
		all = append(all, op)
	}
	return all, nil
}

// validateChallenge checks what the file says of the second protocol.
func (raw file) validateChallenge(f *tomlfile.File, cfg *config) (err error) {
	if !f.Has("challenge") {
		if len(raw.Operation) > 0 {
			return f.Errorf("challenge", "got operations, and no [challenge] that says how clients ask for them")
		}
		return nil
	}
	c := new(challengeConfig)
	r := raw.Challenge
	first, last, ok := strings.Cut(r.Ports, "-")
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	if !ok || err1 != nil || err2 != nil || low == 0 || high < low {
		return f.Errorf("challenge.ports", "got %q", r.Ports)
	}
	c.plan.Ports = challenge.Ports{First: uint16(low), Last: uint16(high)}
	if c.sockets = r.Capture == "sockets"; !c.sockets && r.Capture != "packet" {
		return f.Errorf("challenge.capture", "got %q", r.Capture)
	}
	if c.sockets {
		// Two sockets cannot have one port; a capture takes nothing away.
		c.plan.Taken = &challenge.Ports{First: schedule.MinPort, Last: schedule.MaxPort}
	}
	for i, text := range r.PublicAddress {
		a, err := netip.ParseAddr(text)
		a = a.Unmap()
		field := &c.public4
		if a.Is6() {
			field = &c.public6
		}
		if err != nil || field.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return f.Errorf("challenge.public_address", "got %q in place %d", text, i+1)
		}
		*field = a
	}
	if c.slots = r.Exchanges; c.slots < exchanges.MinSlots || c.slots > exchanges.MaxSlots {
		return f.Errorf("challenge.exchanges", "got %d", r.Exchanges)
	}
	if c.rate = r.Rate; c.rate < 1 || c.rate > 1_000_000 {
		return f.Errorf("challenge.challenges_per_second", "got %d", r.Rate)
	}
	if c.plan.Request, err = r.Request.Parse(f, "challenge.request.", c.plan.Ports.First); err != nil {
		return err
	}
	// The longest request is a whole one of all that there can be.
	next := c.plan.Ports.First
	if codec, err := c.plan.Request.Codec(exchange.MaxRequest); err == nil && codec.Last() < c.plan.Ports.Last {
		next = codec.Last() + 1
	}
	if c.plan.Response, err = r.Response.Parse(f, "challenge.response.", next); err != nil {
		return err
	}
	for _, s := range cfg.services {
		if s.udp && c.plan.Ports.First <= s.port() && s.port() <= c.plan.Ports.Last {
			return f.Errorf("challenge.ports", "got %q, among which is UDP port %d of service %s", r.Ports, s.port(), s.name)
		}
	}
	cfg.challenge = c
	if len(raw.Operation) == 0 {
		return f.Errorf("operation", "got none, which clients could ask for")
	}
	for i, o := range raw.Operation {
		op, err := o.validate(f, fmt.Sprintf("operation.%d.", i), cfg)
		if err != nil {
			return err
		}
		cfg.operations = append(cfg.operations, op)
	}
	// What is wrong with them beside each other does not hang on their secrets.
	trial := slices.Clone(cfg.operations)
	for i := range trial {
		trial[i].secret = "any"
	}
	operations, err := operationsOf(trial)
	if err == nil {
		_, err = exchange.NewOperations(operations, c.plan)
	}
	if err != nil {
		return f.Errorf("operation", "%v", err)
	}
	return nil
}

func (raw fileOperation) validate(f *tomlfile.File, at string, cfg *config) (o operationConfig, err error) {
	if o.id = raw.ID; len(raw.ID) < exchange.MinID || len(raw.ID) > exchange.MaxID {
		return o, f.Errorf(at+"id", "got %q, of %d bytes", raw.ID, len(raw.ID))
	}
	switch {
	case raw.Secret != "" && raw.SecretFile != "":
		return o, f.Errorf(at+"secret_file", "got secret as well: one of the two is enough")
	case raw.Secret == "" && raw.SecretFile == "":
		return o, f.Errorf(at+"secret", "got neither")
	}
	if o.algorithm = exchange.Algorithm(raw.Algorithm); !f.Has(at + "algorithm") {
		o.algorithm = exchange.NATAware
	} else if raw.Algorithm < 1 || raw.Algorithm > 3 {
		return o, f.Errorf(at+"algorithm", "got %d", raw.Algorithm)
	}
	o.service = -1
	for i, s := range cfg.services {
		if s.name == raw.Service {
			o.service = i
		}
	}
	if o.service < 0 {
		return o, f.Errorf(at+"service", "got %q; there are %s", raw.Service, strings.Join(cfg.serviceNames(), ", "))
	}
	service := cfg.services[o.service]
	if o.close = raw.Action == "close"; f.Has(at+"action") && !o.close && raw.Action != "open" {
		return o, f.Errorf(at+"action", "got %q", raw.Action)
	}
	if o.openFor, err = f.Duration(at+"open_for", raw.OpenFor, 0); err != nil {
		return o, err
	}
	if f.Has(at+"open_for") && (o.close || o.openFor < time.Second || o.openFor > service.terms.OpenMax) {
		return o, f.Errorf(at+"open_for", "got %q, of an operation on service %s, whose open_max is %s", raw.OpenFor, service.name, service.terms.OpenMax)
	}
	if o.random = raw.Port == "random"; f.Has(at+"port") && !o.random && raw.Port != "service" {
		return o, f.Errorf(at+"port", "got %q", raw.Port)
	}
	if o.random && (o.close || service.terms.Anyone) {
		return o, f.Errorf(at+"port", "got \"random\" for what opens nothing to one address alone")
	}
	switch {
	case o.random && service.forward:
		return o, f.Errorf(at+"port", "got \"random\" for service %s, which is published by this host and not reached through it", service.name)
	case o.random && service.udp && cfg.stealth:
		return o, f.Errorf(at+"port", "got \"random\" for UDP service %s: stealth = true lets no UDP to other ports in", service.name)
	}
	if o.client = raw.Client; f.Has(at + "client") {
		if _, err := parseFileIdentifier(raw.Client); err != nil {
			return o, f.Errorf(at+"client", "got %q", raw.Client)
		}
	}
	for i, text := range raw.From {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return o, f.Errorf(at+"from", "got %q in place %d", text, i+1)
		}
		o.from = append(o.from, p.Masked())
	}
	return o, nil
}

// readOperations reads the operations' secrets.
func (cfg *config) readOperations(raw file) (err error) {
	for i, o := range raw.Operation {
		if cfg.operations[i].secret, err = readSecret(cfg.path, o.Secret, o.SecretFile); err != nil {
			return fmt.Errorf("read the secret of operation %q: %w", o.ID, err)
		}
	}
	return nil
}

// usable returns the operations that somebody may use, and says why others may
// not: revoking a client, or a right of his, takes his operations with it.
func (cfg config) usable() (list []operationConfig, why []string) {
	services := map[string]string{}
	for _, c := range cfg.clients {
		services[c.identifier.String()] = c.services
	}
	for _, o := range cfg.operations {
		if o.client == "" {
			list = append(list, o)
			continue
		}
		name := cfg.services[o.service].name
		allowed, known := services[o.client]
		switch {
		case !known:
			why = append(why, fmt.Sprintf("operation %q is nobody's: there is no client %s in %s", o.id, o.client, cfg.clientsPath))
		case allowed != "" && !slices.Contains(strings.Split(allowed, ","), name):
			why = append(why, fmt.Sprintf("operation %q is nobody's: client %s may not open service %s", o.id, o.client, name))
		default:
			list = append(list, o)
		}
	}
	return list, why
}
