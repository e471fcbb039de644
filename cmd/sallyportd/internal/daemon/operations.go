package daemon

import (
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
	"sallyport/verify"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// operation is an operation that clients may request, with the protocol's form of
// it, which has the secret.
type operation struct {
	config.Operation
	service    access.ServiceID
	prefixLen4 int  // of the service
	prefixLen6 int  // of the service
	anyone     bool // the service is open to anyone
	isn        bool // it opens a service that requires initial sequence numbers
	proves     bool // connections to the service prove themselves
	protocol   *exchange.Operation
	// Of the operation's secret, or its public keys, by which leases without an end are
	// recognized after a change.
	secrets      []verify.Fingerprint
	clientSecret verify.Fingerprint  // of its client; 0: it belongs to none
	expires      time.Time           // its client; zero: it does not
	host         exchange.HostPublic // of an operation with public keys
}

// equal reports whether two operations do the same for the same clients, so that an
// exchange that has begun under one can go on under the other. The end of the client's
// time does not matter: each use checks it.
func (o operation) equal(other operation) bool {
	for _, op := range []*operation{&o, &other} {
		op.protocol, op.expires = nil, time.Time{}
	}
	return reflect.DeepEqual(o, other)
}

// keeping returns the operations with the protocol's form from before for each one that
// has not changed: by that its exchanges, proofs and tickets stay its own.
func (o operations) keeping(before operations) operations {
	if o.protocol == nil {
		return o
	}
	o.byID = maps.Clone(o.byID)
	same := map[*exchange.Operation]*exchange.Operation{}
	for id, op := range o.byID {
		if was, ok := before.byID[id]; ok && op.equal(was) {
			same[op.protocol] = was.protocol
			op.protocol = was.protocol
			o.byID[id] = op
		}
	}
	o.protocol = o.protocol.Replace(same)
	return o
}

// opensForConnections reports whether a proof for a connection, which has no address,
// opens anything, or closes it: a service whose connections prove themselves, or a
// random port.
func (o operation) opensForConnections() bool { return o.proves || o.RandomPort }

// performs reports whether a proof has anything to perform. A proof for a connection may
// only leave its ticket.
func (o operation) performs(p proof) bool { return p.from.IsValid() || o.opensForConnections() }

// allows reports whether an address may use the operation at now.
func (o operation) allows(a netip.Addr, now time.Time) bool {
	return o.Allows(a) && (o.expires.IsZero() || now.Before(o.expires))
}

// operations are those that some client may use. The zero value: there is no
// challenge–response protocol.
type operations struct {
	byID     map[string]operation
	protocol *exchange.Operations
	unusable []string // why the other operations may not be used, a sentence each
	limited  []state.UseKey
}

func operationsOf(cfg *config.Config, list clients.List, now time.Time) (o operations, err error) {
	if cfg.Challenge == nil {
		return o, nil
	}
	var usable []config.Operation
	usable, o.unusable = cfg.Usable(list.Rights(cfg.OperationClients(), now))
	if o.limited, err = limitsOf(cfg.Operations); err != nil {
		return o, err
	}
	protocol, err := config.Protocol(usable, cfg.Challenge.HostKey)
	if err != nil {
		return o, err
	}
	o.byID = make(map[string]operation, len(usable))
	expires := map[string]time.Time{}
	for _, c := range list {
		if !c.Expires.IsZero() {
			expires[c.Identifier.String()] = c.Expires
		}
	}
	clientSecrets, err := fingerprints(list, cfg.OperationClients())
	if err != nil {
		return o, err
	}
	for i, op := range usable {
		secrets, err := fingerprintsOf(op)
		if err != nil {
			return o, fmt.Errorf("operation %q: %w", op.ID, err)
		}
		service := cfg.Service(op.Service)
		o.byID[op.ID] = operation{
			Operation: op, service: service.ID(), prefixLen4: service.PrefixLen4, prefixLen6: service.PrefixLen6, anyone: service.Policy.Anyone,
			protocol: protocol[i], secrets: secrets, clientSecret: clientSecrets[op.Client], expires: expires[op.Client],
			isn: !op.Close && service.RequireISN, proves: service.Proves,
			host: hostOf(op, cfg.Challenge.HostKey),
		}
	}
	if o.protocol, err = exchange.NewOperations(protocol, cfg.Challenge.Plan); err != nil {
		return o, err
	}
	o.protocol.SetHopping(exchange.Hopping{Keys: cfg.PortSecret.HopKeys(), Tolerance: cfg.Tolerance})
	return o, nil
}

// hostOf returns the public part of the host key, if an operation requires it.
func hostOf(o config.Operation, host *exchange.HostKey) (p exchange.HostPublic) {
	if o.Signed {
		p = host.Public()
	}
	return p
}

// fingerprintsOf returns the Fingerprint of an operation's secret, or of each key.
func fingerprintsOf(o config.Operation) (all []verify.Fingerprint, err error) {
	if !o.Signed {
		f, err := verify.FingerprintOf([]byte(o.Secret))
		return []verify.Fingerprint{f}, err
	}
	for _, k := range o.Keys {
		all = append(all, fingerprintOfKey(k))
	}
	return all, nil
}

func fingerprintOfKey(k exchange.PublicKey) verify.Fingerprint {
	return verify.FingerprintOfMAC(k.Fingerprint())
}

// fingerprintOf returns the Fingerprint of the key that has proved a request; nil: the
// secret has.
func (o operation) fingerprintOf(key *exchange.PublicKey) verify.Fingerprint {
	if key != nil {
		return fingerprintOfKey(*key)
	}
	return o.secrets[0]
}

// fingerprints returns the Fingerprints of the secrets of some clients.
func fingerprints(list clients.List, of []string) (map[string]verify.Fingerprint, error) {
	all := map[string]verify.Fingerprint{}
	if len(of) == 0 {
		return all, nil
	}
	for _, c := range list {
		if id := c.Identifier.String(); slices.Contains(of, id) {
			f, err := verify.FingerprintOf(c.Secret)
			if err != nil {
				return nil, fmt.Errorf("client %s: %w", id, err)
			}
			all[id] = f
		}
	}
	return all, nil
}

// leaseOwner is the identifier that owns a lease which an operation opens. For
// operations that belong to no client it depends on the peer that the lease admits,
// so that one such operation closes what another has opened, and the limit of
// addresses for a client does not count for all addresses together. A secret seed
// decides which addresses share an identifier: so a host with the secret of such an
// operation cannot choose addresses whose leases replace those of another address.
func (o operation) leaseOwner(a netip.Addr) (id wire.Identifier) {
	if o.Client != "" {
		copy(id[:], o.Client)
		return id
	}
	// In a clients file, no identifier begins with this.
	n := maphash.Comparable(ownerSeed, o.peerOf(a))
	id[0] = '#'
	for i := 1; i < len(id); i++ {
		id[i] = ownerDigits[n%uint64(len(ownerDigits))]
		n /= uint64(len(ownerDigits))
	}
	return id
}

// peerOf returns the peer that a lease of the service admits. The zero Addr is that of an
// exchange for a connection.
func (o operation) peerOf(a netip.Addr) access.Peer {
	if !a.IsValid() {
		return access.AnyAddress
	}
	return access.PeerIn(a, o.prefixLen4, o.prefixLen6)
}

const ownerDigits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

// ownerSeed is new at each start: no identifier outlives the process. The record of
// leases has the address instead.
var ownerSeed = maphash.MakeSeed()

// ownerless reports whether a lease belongs to no client.
func ownerless(id wire.Identifier) bool { return id[0] == '#' }

// keepsOwnerless reports whether the next operations include, unchanged, all
// operations that belong to no client, and all of their keys: then the leases that
// these have opened continue.
func (o operations) keepsOwnerless(next operations) bool {
	for id, was := range o.byID {
		if was.Client != "" {
			continue
		}
		now, ok := next.byID[id]
		if !ok || now.Client != "" || now.Secret != was.Secret || now.Service != was.Service {
			return false
		}
		gone := func(f verify.Fingerprint) bool { return !slices.Contains(now.secrets, f) }
		if slices.ContainsFunc(was.secrets, gone) {
			return false // it does not matter which lease is of that key
		}
	}
	return true
}

// keep returns the lease without an end that the operation opens for an address.
// The key is that of the client; nil: the operation has a secret.
func (o operation) keep(a netip.Addr, key *exchange.PublicKey, now time.Time) keptLease {
	l := keptLease{o.at(a), state.Kept{
		Service: o.Service, Operation: o.ID, Peer: o.peerOf(a), Address: a,
		Anyone: o.anyone, Since: time.Unix(now.Unix(), 0), Secret: o.fingerprintOf(key), ClientSecret: o.clientSecret,
	}}
	copy(l.Client[:], o.Client)
	return l
}

// at returns the lease of an address that the operation opens, or closes.
func (o operation) at(a netip.Addr) address {
	return address{o.leaseOwner(a), o.service, o.peerOf(a)}
}

// refuses returns why a recorded lease would not be granted now; empty: it would.
// The lease is the requester's only as long as all its terms are as they were.
func (o operations) refuses(k state.Kept) string {
	op, ok := o.byID[k.Operation]
	var client wire.Identifier
	copy(client[:], op.Client)
	switch {
	case !ok:
		return "the operation is gone, or its client may not use it"
	case op.Close || !op.UntilClosed && k.End == (state.End{}):
		return "the operation does not open until it is closed"
	case op.Service != k.Service || client != k.Client:
		return "the operation is for another service or client"
	case k.End != (state.End{}) && op.allSecrets() != k.Secret:
		return "the operation has another secret, or other keys"
	case k.End == (state.End{}) && !slices.Contains(op.secrets, k.Secret) && op.Signed:
		return "the operation no longer has the client's key"
	case k.End == (state.End{}) && !slices.Contains(op.secrets, k.Secret):
		return "the operation has a new secret"
	case op.clientSecret != k.ClientSecret:
		return "the client has a new secret"
	case !op.Allows(k.Address):
		return "the operation excludes the address"
	case op.anyone != k.Anyone:
		return "open_to of the service has changed"
	case op.peerOf(k.Address) != k.Peer:
		return "grant_prefix4 or grant_prefix6 of the service has changed"
	}
	return ""
}
