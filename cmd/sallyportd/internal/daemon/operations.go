package daemon

import (
	"hash/maphash"
	"net/netip"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/wire"
)

// operation is an operation that clients may request, with the protocol's form of
// it, which has the secret.
type operation struct {
	config.Operation
	service  access.ServiceID
	protocol *exchange.Operation
	isn      bool // it opens a service that requires initial sequence numbers
}

// operations are those that some client may use. The zero value: there is no
// challenge–response protocol.
type operations struct {
	byID     map[string]operation
	protocol *exchange.Operations
	unusable []string // why the other operations may not be used, a sentence each
}

func operationsOf(cfg *config.Config, list clients.List) (o operations, err error) {
	if cfg.Challenge == nil {
		return o, nil
	}
	var usable []config.Operation
	usable, o.unusable = cfg.Usable(list.Rights(cfg.OperationClients()))
	protocol, err := config.Protocol(usable)
	if err != nil {
		return o, err
	}
	o.byID = make(map[string]operation, len(usable))
	for i, op := range usable {
		o.byID[op.ID] = operation{
			Operation: op, service: access.ID(op.Service), protocol: protocol[i], isn: !op.Close && cfg.Service(op.Service).RequireISN,
		}
	}
	o.protocol, err = exchange.NewOperations(protocol, cfg.Challenge.Plan)
	return o, err
}

// leaseOwner is the identifier that owns a lease which an operation opens. For
// operations that belong to no client it depends on the address, so that one such
// operation closes what another has opened, and the limit of addresses for a
// client does not count for all addresses together. A secret seed decides which
// addresses share an identifier: so a host with the secret of such an operation
// cannot choose addresses whose leases replace those of another address.
func (o operation) leaseOwner(a netip.Addr) (id wire.Identifier) {
	if o.Client != "" {
		copy(id[:], o.Client)
		return id
	}
	// In a clients file, no identifier begins with this.
	n := maphash.Comparable(ownerSeed, a)
	id[0] = '#'
	for i := 1; i < len(id); i++ {
		id[i] = ownerDigits[n%uint64(len(ownerDigits))]
		n /= uint64(len(ownerDigits))
	}
	return id
}

const ownerDigits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

// ownerSeed is new at each start: leases do not outlive the process.
var ownerSeed = maphash.MakeSeed()

// ownerless reports whether a lease belongs to no client.
func ownerless(id wire.Identifier) bool { return id[0] == '#' }

// keepsOwnerless reports whether the next operations include, unchanged, all
// operations that belong to no client: then the leases that these have opened
// continue.
func (o operations) keepsOwnerless(next operations) bool {
	for id, was := range o.byID {
		if was.Client != "" {
			continue
		}
		now, ok := next.byID[id]
		if !ok || now.Client != "" || now.Secret != was.Secret || now.Service != was.Service {
			return false
		}
	}
	return true
}
