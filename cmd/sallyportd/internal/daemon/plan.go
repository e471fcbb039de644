package daemon

import (
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest"
	"sallyport/sessions"
	"sallyport/sessions/fleet/grants"
	"sallyport/sessions/fleet/presence"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// plan is the result of a configuration and its clients, a part for each stage. To
// make one changes nothing. It keeps neither the configuration nor a client's
// secret.
type plan struct {
	trial    *time.Duration // of what a reload newly hides; nil: none was asked for
	settings ingest.Settings
	slots    []sessions.Client
	leases   map[access.ServiceID]gate.LeasePolicy
	isClient map[wire.Identifier]bool
	// The clients that leave, and those whose identifier another client gets: see
	// leave.
	gone    []wire.Identifier
	readded map[wire.Identifier]bool
	// The clients that may not open every service.
	restricted map[wire.Identifier][]access.ServiceID
	operations operations
	policy     grants.Policy                 // for grants of other servers
	rotations  map[wire.Identifier]time.Time // the ends of old secrets
	parts      []presence.Part               // of a fleet
	// When clients expire, and how many of them have expired when the plan was made.
	expiries expiries
	expired  int
}

// Check fails if a server could not start with a configuration and its clients, as
// far as that is known without starting one.
func Check(cfg *config.Config, list clients.List, now time.Time) error {
	if _, err := newPlan(cfg, list, now); err != nil {
		return err
	}
	if cfg.Fleet != nil {
		if err := cfg.Fleet.Etcd.CheckFiles(); err != nil {
			return err
		}
	}
	for i := range cfg.Services {
		if err := cfg.Services[i].Readable(); err != nil {
			return err
		}
	}
	for i := range cfg.HTTP() {
		if _, err := cfg.HTTP()[i].Site(); err != nil {
			return err
		}
	}
	return nil
}

// newPlan makes a plan. own are the keys of clients that are in no list: see package selftest.
func newPlan(cfg *config.Config, list clients.List, now time.Time, own ...verify.Key) (p plan, err error) {
	keys := secretsOf(list)
	p.slots = make([]sessions.Client, 0, len(list))
	p.expiries = expiriesOf(list)
	p.expired = len(p.expiries.until(now))
	p.isClient = make(map[wire.Identifier]bool, len(list))
	p.rotations = map[wire.Identifier]time.Time{}
	for _, c := range list {
		p.isClient[c.Identifier] = true
		if len(c.Previous) > 0 {
			p.rotations[c.Identifier] = c.Until
		}
	}
	if cfg.Fleet != nil && cfg.Fleet.GatewayKeys && cfg.Shares() {
		if p.policy.Secrets, err = verify.NewKeyTable(keys); err != nil {
			return p, err
		}
	}
	if keys, err = ownKeys(cfg.Fleet, keys); err != nil {
		return p, err
	}
	table, err := verify.NewKeyTable(append(keys, own...))
	if err != nil {
		return p, err
	}
	p.settings = ingest.Settings{
		Rules: verify.Rules{Table: table, Ports: cfg.Ports, Tolerance: cfg.Tolerance, ISN: cfg.RequiresISN()},
		Ports: cfg.PortLists(), PortSecrets: cfg.PortSecret.Names(),
	}
	p.policy.Split = cfg.Fleet != nil && cfg.Fleet.Split
	p.policy.Table, p.policy.Ports, p.policy.Tolerance = table, cfg.Ports, cfg.Tolerance
	p.leases = make(map[access.ServiceID]gate.LeasePolicy, len(cfg.Services))
	for i := range cfg.Services {
		p.leases[cfg.Services[i].ID()] = cfg.Services[i].Policy
	}
	if p.restricted, err = restrictions(cfg.ServiceNames(), list); err != nil {
		return p, err
	}
	for _, x := range p.expiries[:p.expired] {
		p.restricted[x.client] = nil
	}
	widest := spreadOf(cfg, func(access.ServiceID) bool { return true })
	for _, c := range list {
		if c.Expired(now) {
			continue
		}
		slot := slotOf(c, table)
		if slot.Spread = widest; c.Services != "" {
			may := p.restricted[c.Identifier]
			slot.Spread = spreadOf(cfg, func(id access.ServiceID) bool { return slices.Contains(may, id) })
		}
		p.slots = append(p.slots, slot)
	}
	for _, k := range own {
		p.isClient[k.Identifier], p.restricted[k.Identifier] = true, nil
		p.slots = append(p.slots, slotOf(clients.Client{Identifier: k.Identifier}, table))
	}
	if p.parts, err = partsOf(cfg, list); err != nil {
		return p, err
	}
	p.operations, err = operationsOf(cfg, list, now)
	return p, err
}

// secretsOf returns the secrets of clients.
func secretsOf(list clients.List) []verify.Key {
	keys := make([]verify.Key, len(list))
	for i, c := range list {
		keys[i] = verify.Key{Identifier: c.Identifier, Secret: c.Secret, Previous: c.Previous, Until: c.Until, Expires: c.Expires}
	}
	return keys
}

// ownKeys returns the keys with which clients with these secrets sign at this server.
func ownKeys(f *config.Fleet, secrets []verify.Key) ([]verify.Key, error) {
	if f == nil || !f.GatewayKeys {
		return secrets, nil
	}
	return verify.KeysOfGateway(secrets, f.Name)
}

// spreadOf returns how far the sources of one attempt may differ, for a client that may
// open some of the services.
func spreadOf(cfg *config.Config, may func(access.ServiceID) bool) (s sessions.Spread) {
	for i := range cfg.Services {
		if service := &cfg.Services[i]; may(service.ID()) {
			s.IPv4 = max(s.IPv4, uint8(access.PrefixHost4-service.PrefixLen4))
			s.IPv6 = max(s.IPv6, uint8(access.PrefixHost-service.PrefixLen6))
		}
	}
	return s
}

// slotOf returns a client for sessions. The nonce of the clients file is that of the
// secret for which it was written: during a rotation the old one.
func slotOf(c clients.Client, table *verify.KeyTable) sessions.Client {
	current, previous := table.Windows(c.Identifier)
	slot := sessions.Client{
		Identifier: c.Identifier, Table: table.Number(),
		Current:  sessions.Secret{Fingerprint: current.Fingerprint, Floor: current.Floor},
		Previous: sessions.Secret{Fingerprint: previous.Fingerprint, Floor: previous.Floor},
	}
	if previous.Fingerprint != 0 {
		slot.Previous.HighestNonce = c.HighestNonce
	} else {
		slot.Current.HighestNonce = c.HighestNonce
	}
	return slot
}

// restrictions returns the clients that may not open every service, with their
// services. Clients with the same services share a list.
func restrictions(names []string, list clients.List) (map[wire.Identifier][]access.ServiceID, error) {
	restricted := map[wire.Identifier][]access.ServiceID{}
	shared := map[string][]access.ServiceID{}
	for _, c := range list {
		if c.Services == "" {
			continue
		}
		if err := c.CheckServices(names); err != nil {
			return nil, err
		}
		ids, ok := shared[c.Services]
		if !ok {
			for _, name := range c.Allowed() {
				ids = append(ids, access.ID(name))
			}
			shared[c.Services] = ids
		}
		restricted[c.Identifier] = ids
	}
	return restricted, nil
}
