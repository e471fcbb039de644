package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/verify/challenge/exchange"
)

// maxOperations is how many a configuration may have.
const maxOperations = 256

// Operation is an [[operation]]: what clients can ask for by the
// challenge–response protocol.
type Operation struct {
	ID, Secret string
	Algorithm  exchange.Algorithm
	Service    string
	Close      bool
	OpenFor    time.Duration // 0: as the service says
	RandomPort bool
	Client     string         // empty: every one that has the secret
	From       []netip.Prefix // none: everywhere
}

// Allows reports whether an address may use it.
func (o Operation) Allows(a netip.Addr) bool {
	return len(o.From) == 0 || slices.ContainsFunc(o.From, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

// Describe says what an operation is, in a line.
func (o Operation) Describe() string {
	what := "opens service " + o.Service
	switch {
	case o.Close:
		what = "closes service " + o.Service
	case o.OpenFor != 0:
		what += " for " + o.OpenFor.String()
	}
	if o.RandomPort {
		what += ", at a random port"
	}
	who := "whoever has its secret"
	if o.Client != "" {
		who = "client " + o.Client
	}
	if len(o.From) > 0 {
		who += ", from " + strings.Trim(fmt.Sprint(o.From), "[]")
	}
	return fmt.Sprintf("%s: %s, by Algorithm %d, for %s", o.ID, what, o.Algorithm, who)
}

// Protocol returns operations as the protocol knows them.
func Protocol(list []Operation) ([]*exchange.Operation, error) {
	all := make([]*exchange.Operation, len(list))
	for i, o := range list {
		var err error
		if all[i], err = exchange.NewOperation(o.ID, o.Secret, o.Algorithm, o.RandomPort); err != nil {
			return nil, fmt.Errorf("operation %q: %w", o.ID, err)
		}
	}
	return all, nil
}

func (r *raw) operations(f *tomlfile.File, c *Config) error {
	if len(r.Operation) == 0 {
		return f.Errorf("operation", "got none, which clients could ask for")
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
	// What is wrong with them beside each other does not depend on their secrets.
	trial := slices.Clone(c.Operations)
	for i := range trial {
		trial[i].Secret = "any"
	}
	operations, err := Protocol(trial)
	if err == nil {
		_, err = exchange.NewOperations(operations, c.Challenge.Plan)
	}
	if err != nil {
		return f.Errorf("operation", "%v", err)
	}
	return nil
}

func (r *rawOperation) operation(f *tomlfile.File, at string, c *Config) (o Operation, err error) {
	if err := fill(f, r, at, ""); err != nil {
		return o, err
	}
	o = Operation{
		ID: r.ID, Secret: r.Secret, Algorithm: exchange.Algorithm(r.Algorithm), Service: r.Service, Close: r.Action == "close",
		OpenFor: duration(r.OpenFor), RandomPort: r.Port == "random", Client: r.Client,
	}
	if len(r.ID) < exchange.MinID || len(r.ID) > exchange.MaxID {
		return o, f.Errorf(at+"id", "got %q, of %d bytes", r.ID, len(r.ID))
	}
	switch {
	case r.Secret != "" && r.SecretFile != "":
		return o, f.Errorf(at+"secret_file", "got secret as well: one of the two is enough")
	case r.Secret == "" && r.SecretFile == "":
		return o, f.Errorf(at+"secret", "got neither")
	}
	at0 := slices.IndexFunc(c.Services, func(s Service) bool { return s.Name == r.Service })
	if at0 < 0 {
		return o, f.Errorf(at+"service", "got %q; there are %s", r.Service, strings.Join(c.ServiceNames(), ", "))
	}
	s := &c.Services[at0]
	if f.Has(at+"open_for") && (o.Close || o.OpenFor > s.Terms.OpenMax) {
		return o, f.Errorf(at+"open_for", "got %q, of an operation on service %s, whose open_max is %s", r.OpenFor, s.Name, s.Terms.OpenMax)
	}
	if err := o.port(f, at, s, c.Stealth); err != nil {
		return o, err
	}
	if f.Has(at + "client") {
		if _, err := secrets.ParseIdentifier(r.Client); err != nil {
			return o, f.Errorf(at+"client", "got %q", r.Client)
		}
	}
	for i, text := range r.From {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return o, f.Errorf(at+"from", "got %q in place %d", text, i+1)
		}
		o.From = append(o.From, p.Masked())
	}
	return o, nil
}

// port refuses random ports where there can be none.
func (o Operation) port(f *tomlfile.File, at string, s *Service, stealth bool) error {
	switch {
	case !o.RandomPort:
		return nil
	case o.Close || s.Terms.Anyone:
		return f.Errorf(at+"port", "got \"random\" for what opens nothing to one address alone")
	case s.Published():
		return f.Errorf(at+"port", "got \"random\" for service %s, which is published by this host and not reached through it", s.Name)
	case s.UDP && stealth:
		return f.Errorf(at+"port", "got \"random\" for UDP service %s: stealth = true lets no UDP to other ports in", s.Name)
	}
	return nil
}

// Usable returns the operations that some client may use, and says why others
// may not: revoking a client, or its right to a service, takes its operations
// with it. Rights returns the services that a client may open, all if there are
// none, and whether there is that client.
func (c *Config) Usable(rights func(client string) (services []string, known bool)) (list []Operation, why []string) {
	for _, o := range c.Operations {
		if o.Client == "" {
			list = append(list, o)
			continue
		}
		allowed, known := rights(o.Client)
		switch {
		case !known:
			why = append(why, fmt.Sprintf("operation %q is nobody's: there is no client %s in %s", o.ID, o.Client, c.ClientsPath))
		case allowed != nil && !slices.Contains(allowed, o.Service):
			why = append(why, fmt.Sprintf("operation %q is nobody's: client %s may not open service %s", o.ID, o.Client, o.Service))
		default:
			list = append(list, o)
		}
	}
	return list, why
}

// OperationClients are the clients that operations belong to.
func (c *Config) OperationClients() (ids []string) {
	for _, o := range c.Operations {
		if o.Client != "" {
			ids = append(ids, o.Client)
		}
	}
	return ids
}
