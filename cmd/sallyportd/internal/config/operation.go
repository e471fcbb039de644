package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/durations"
	"sallyport/sessions/gate/access"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// maxOperations is how many operations a configuration may have.
const maxOperations = 256

// UntilClosed is the value of open_for of an operation that opens without an end.
const UntilClosed = "until-closed"

// Operation is an [[operation]]: what clients can request by the
// challenge–response protocol.
type Operation struct {
	ID, Secret string
	// Signed: it has public keys instead of a secret. None: it is disabled.
	Signed    bool
	Keys      []exchange.PublicKey
	Algorithm exchange.Algorithm
	Service   string
	Close     bool
	OpenFor   time.Duration // 0: the OpenFor of the service
	// UntilClosed: the service is open until an operation closes it, the client
	// loses the right, or the administrator closes it.
	UntilClosed bool
	RandomPort  bool
	Client      string         // empty: any client that has the secret, or a key
	Uses        int            // how often it may be used; 0: without a limit
	From        []netip.Prefix // empty: all addresses
}

// Allows reports whether a client may use the operation from an address.
func (o Operation) Allows(a netip.Addr) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) }
	return len(o.From) == 0 || slices.ContainsFunc(o.From, contains)
}

// Closes reports whether the operation closes what another one opens from the same
// address: both are for the same client, or both for none.
func (o Operation) Closes(other Operation) bool {
	return o.Close && !other.Close && o.Service == other.Service && o.Client == other.Client
}

// Lasts returns for how long the operation opens, as open_for has it; empty: for as
// long as a knock does, or it closes.
func (o Operation) Lasts() string {
	switch {
	case o.UntilClosed:
		return UntilClosed
	case o.OpenFor != 0:
		return durations.Short(o.OpenFor)
	}
	return ""
}

// Describe describes the operation in a line.
func (o Operation) Describe() string {
	action := "opens service " + o.Service
	switch {
	case o.Close:
		action = "closes service " + o.Service
	case o.UntilClosed:
		action += " until it is closed"
	case o.OpenFor != 0:
		action += " for " + durations.Short(o.OpenFor)
	}
	if o.RandomPort {
		action += ", on a random port"
	}
	users := "any client that has its secret"
	if o.Signed {
		users = "any client that has one of its keys"
	}
	if o.Client != "" {
		users = "client " + o.Client
	}
	if len(o.From) > 0 {
		users += ", from " + strings.Trim(fmt.Sprint(o.From), "[]")
	}
	switch o.Uses {
	case 0:
	case 1:
		users += ", once"
	default:
		users += fmt.Sprintf(", %d times", o.Uses)
	}
	return fmt.Sprintf("%s: %s, by Algorithm %d, for %s", o.ID, action, o.Algorithm, users)
}

// Protocol returns the operations in the form of package exchange. Only those with
// public keys require a host key.
func Protocol(list []Operation, host *exchange.HostKey) ([]*exchange.Operation, error) {
	all := make([]*exchange.Operation, len(list))
	for i, o := range list {
		var err error
		if o.Signed {
			all[i], err = exchange.NewSignedOperation(o.ID, host, o.Keys, o.RandomPort)
		} else {
			all[i], err = exchange.NewOperation(o.ID, o.Secret, o.Algorithm, o.RandomPort)
		}
		if err != nil {
			return nil, fmt.Errorf("operation %q: %w", o.ID, err)
		}
	}
	return all, nil
}

func (r *raw) operations(f *tomlfile.File, c *Config) error {
	if len(r.Operation) == 0 {
		return hint.With(f.Errorf("operation", "got none"),
			"leave out [challenge] and its tables, and make an operation: sallyportd operation add ID; then add the tables")
	}
	if len(r.Operation) > maxOperations {
		return f.Errorf("operation", "got %d", len(r.Operation))
	}
	for i := range r.Operation {
		o, err := r.Operation[i].operation(f, fmt.Sprintf("operation.%d.", i), c)
		if err != nil {
			return err
		}
		c.Operations = append(c.Operations, o)
	}
	return c.fitOperations(f)
}

// fitOperations checks the operations against each other, and against the plan.
// Conflicts do not depend on secrets and keys, which are read later; only the sizes of
// responses depend on the type of the keys.
func (c *Config) fitOperations(f *tomlfile.File) error {
	trial := slices.Clone(c.Operations)
	for i := range trial {
		trial[i].Secret = "any"
		if len(trial[i].Keys) == 0 {
			trial[i].Keys = []exchange.PublicKey{{Key: [32]byte{2}}}
		}
	}
	host, err := exchange.NewHostKey(zeros{})
	if err != nil {
		return err
	}
	operations, err := Protocol(trial, host)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Where("operation"), err)
	}
	return c.Challenge.fit(operations, c.Listen, func(err error) error {
		return fmt.Errorf("%s: %w", f.Where("operation"), err)
	})
}

// zeros is random enough for a key that is not used.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func (r *rawOperation) operation(f *tomlfile.File, at string, c *Config) (o Operation, err error) {
	if err := fill(f, r, at, ""); err != nil {
		return o, err
	}
	o = Operation{
		ID: r.ID, Secret: r.Secret, Algorithm: exchange.Algorithm(r.Algorithm), Service: r.Service,
		Close: r.Action == "close", UntilClosed: r.OpenFor == UntilClosed, RandomPort: r.Port == "random", Client: r.Client, Uses: r.Uses,
	}
	if !o.UntilClosed {
		o.OpenFor = duration(r.OpenFor)
	}
	if len(r.ID) < exchange.MinID || len(r.ID) > exchange.MaxID {
		return o, f.Errorf(at+"id", "got %q, with %d bytes", r.ID, len(r.ID))
	}
	if err := r.publicKeys(f, at, &o, c); err != nil {
		return o, err
	}
	switch {
	case r.Secret != "" && r.SecretFile != "":
		return o, f.Errorf(at+"secret_file", "got secret as well; only one of the two is allowed")
	case !o.Signed && r.Secret == "" && r.SecretFile == "":
		return o, f.Errorf(at+"secret", "got neither")
	}
	s := c.Service(r.Service)
	if s == nil {
		return o, f.Errorf(at+"service", "got %q; the services are %s", r.Service, strings.Join(c.ServiceNames(), ", "))
	}
	s = s.Original()
	if err := s.checkRandom(f, at, &o); err != nil {
		return o, err
	}
	if f.Has(at+"open_for") && o.Close {
		return o, f.Errorf(at+"open_for", "got %q for an operation with action = \"close\"", r.OpenFor)
	}
	if o.Close && o.Uses > 0 {
		return o, f.Errorf(at+"uses",
			"got %d for an operation with action = \"close\": the service would stay open after the last use", o.Uses)
	}
	if o.OpenFor > s.Policy.OpenMax {
		return o, f.Errorf(at+"open_for",
			"got %q for service %s, whose open_max is %s", r.OpenFor, s.Name, s.Policy.OpenMax)
	}
	if o.UntilClosed && o.RandomPort {
		return o, f.Errorf(at+"open_for",
			"got %q for an operation with port = \"random\": a random port is for one connection, which must begin within a time", r.OpenFor)
	}
	if o.UntilClosed && s.RequireISN {
		return o, f.Errorf(at+"open_for",
			"got %q for service %s, which has bind = \"isn\": its leases admit one connection each", r.OpenFor, s.Name)
	}
	if s.Proves && !o.Close && !f.Has(at+"client") {
		return o, hint.With(f.Errorf(at+"client", "got nothing, for service %s, which has bind = \"connection\": its connections are those of a client, by the client's secret", s.Name),
			"name a client whose profile the device has, too")
	}
	if s.Rotates() && !o.RandomPort && !o.Close {
		return o, hint.With(f.Errorf(at+"port", "got %q for service %s, which has port = \"rotate\": an exchange has no minute that draws its port", r.Port, s.Name),
			"set port = \"random\" for the operation: the server then draws the port, and the challenge contains it")
	}
	if err := o.checkPort(f, at, s, c); err != nil {
		return o, err
	}
	if ch := c.Challenge; ch.CarriersOnly && len(ch.HTTP) == 0 && !s.Proves && !o.RandomPort {
		return o, hint.With(f.Errorf(at+"service", "got %q, which [challenge.dns] alone cannot open: the address of a resolver is not that of a client", s.Name),
			"set bind = \"connection\" for the service, or port = \"random\" for the operation; or add a [[challenge.http]] table")
	}
	if f.Has(at + "client") {
		if _, err := secrets.ParseIdentifier(r.Client); err != nil {
			return o, f.Errorf(at+"client", "got %q", r.Client)
		}
	}
	for i, text := range r.From {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return o, f.Errorf(at+"from", "got %q (entry %d)", text, i+1)
		}
		o.From = append(o.From, p.Masked())
	}
	return o, nil
}

// checkPort rejects a random port where the server cannot open one.
func (o Operation) checkPort(f *tomlfile.File, at string, s *Service, c *Config) error {
	switch {
	case !o.RandomPort:
		return nil
	case o.Close || s.Policy.Anyone:
		return f.Errorf(at+"port",
			"got \"random\", which requires action = \"open\" and a service with open_to = \"knocker\"")
	case !s.HasPort():
		return f.Errorf(at+"port", "got \"random\" for service %s, which has no port", s.Name)
	case s.RequireISN:
		return f.Errorf(at+"port",
			"got \"random\" for service %s, which has bind = \"isn\": a random port compares no sequence number", s.Name)
	case s.Proves:
		return f.Errorf(at+"port",
			"got \"random\" for service %s, which has bind = \"connection\": a random port is for one connection, without a proof", s.Name)
	case s.Jump() != "":
		return f.Errorf(at+"port",
			"got \"random\" for service %s, which has jump = %q: a random port does not pass that chain", s.Name, s.Jump())
	case s.Several():
		return f.Errorf(at+"port",
			"got \"random\" for service %s, which has several ports: a random port leads to one", s.Name)
	case c.freePorts() < minFreePorts:
		return f.Errorf(at+"port",
			"got \"random\", but the services leave only %d ports to draw from; at least %d are required", c.freePorts(), minFreePorts)
	case s.Published():
		return f.Errorf(at+"port",
			"got \"random\" for service %s with hook = \"forward\": random ports are only on this host itself", s.Name)
	case s.UDP && c.Stealth:
		return f.Errorf(at+"port",
			"got \"random\" for UDP service %s: stealth = true drops UDP to all other ports", s.Name)
	}
	return nil
}

// minFreePorts is from how many ports random ones are drawn, at least: an attacker
// must not guess them.
const minFreePorts = 1 << 14

// freePorts returns how many ports are neither services' nor those of requests and
// responses.
func (c *Config) freePorts() (n int) {
	taken := append(c.ServicePorts(), c.Challenge.PacketPorts())
	taken = append(taken, c.CarrierPorts()...)
	if a := c.Challenge.Answers; a != nil {
		taken = append(taken, access.Ports{First: a.Port, Last: a.Port})
	}
	for p := schedule.MinPort; p <= schedule.MaxPort; p++ {
		if !access.AnyHas(taken, uint16(p)) {
			n++
		}
	}
	return n
}

// Usable returns the operations that a client may use, and a reason for each of the
// others: an operation is disabled if it has no key, or if its client is revoked, has expired, or may not
// open its service. rights returns the services that a client may open (nil: all),
// whether the client exists, and when it has expired (zero: it has not).
func (c *Config) Usable(
	rights func(client string) (services []string, known bool, expired time.Time),
) (list []Operation, disabled []string) {
	for _, o := range c.Operations {
		if o.Signed && len(o.Keys) == 0 {
			disabled = append(disabled, fmt.Sprintf("operation %q is disabled: its keys_file has no public key", o.ID))
			continue
		}
		if o.Client == "" {
			list = append(list, o)
			continue
		}
		allowed, known, expired := rights(o.Client)
		switch {
		case !known:
			disabled = append(disabled,
				fmt.Sprintf("operation %q is disabled: there is no client %s in %s", o.ID, o.Client, c.ClientsPlace()))
		case !expired.IsZero():
			disabled = append(disabled,
				fmt.Sprintf("operation %q is disabled: client %s expired at %s", o.ID, o.Client, expired.UTC().Format(time.RFC3339)))
		case allowed != nil && !slices.Contains(allowed, o.Service):
			disabled = append(disabled,
				fmt.Sprintf("operation %q is disabled: client %s may not open service %s", o.ID, o.Client, o.Service))
		default:
			list = append(list, o)
		}
	}
	return list, disabled
}

// OpeningWithoutClient returns the operations that open a service for any holder of
// their secret, or of a key: they do so even if there is no client.
func (c *Config) OpeningWithoutClient() (ids []string) {
	for _, o := range c.Operations {
		if o.Client == "" && !o.Close {
			ids = append(ids, o.ID)
		}
	}
	return ids
}

// OperationClients returns the clients of the operations.
func (c *Config) OperationClients() (ids []string) {
	for _, o := range c.Operations {
		if o.Client != "" {
			ids = append(ids, o.Client)
		}
	}
	return ids
}
