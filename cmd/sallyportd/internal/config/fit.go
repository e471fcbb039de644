package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/cmd/internal/hint"
	"sallyport/ingest/udp"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// fit checks that the plan has ports for the messages of all operations, in the
// families in which the server listens. where adds the place in the file to an
// error.
func (ch *Challenge) fit(operations []*exchange.Operation, listen udp.Addresses, where func(error) error) error {
	_, err := exchange.NewOperations(operations, ch.Plan)
	if err == nil {
		return nil
	}
	err = ch.explain(where(err))
	if slices.ContainsFunc(operations, (*exchange.Operation).Signed) && ch.onlySignedTooLong(operations) {
		err = hint.With(err, "messages of operations with public keys are longer: set restart = 20 in [challenge.request] and in [challenge.response]; all operations then require new profiles")
	}
	four := ch.Plan
	four.NoIPv6 = true
	if _, err4 := exchange.NewOperations(operations, four); err4 != nil || ch.Plan.NoIPv6 || ch.Plan.NoIPv4 {
		return err
	}
	err = hint.With(err, "the operations fit over IPv4: to use IPv4 only, set listen = [\"0.0.0.0\"]; for IPv6, set data_bits so that the longer requests fit")
	named := func(a netip.Addr) bool { return a.Is6() && !a.IsUnspecified() }
	if slices.ContainsFunc(listen, named) {
		return err
	}
	ch.Plan, ch.without6 = four, err
	return nil
}

// onlySignedTooLong reports whether the messages of operations with public keys do not
// fit the plan, while they would with secrets.
func (ch *Challenge) onlySignedTooLong(operations []*exchange.Operation) bool {
	others := slices.Clone(operations)
	for i, o := range others {
		if !o.Signed() {
			continue
		}
		// The same with a secret.
		var err error
		if others[i], err = exchange.NewOperation(o.ID(), "any", o.Algorithm(), o.RandomPort()); err != nil {
			return false
		}
	}
	_, err := exchange.NewOperations(others, ch.Plan)
	return err == nil && !ch.Plan.Shared
}

// sharingHint is how requests and responses find room among the ports of a host.
const sharingHint = "set fewer data_bits, another base, more ports or a smaller hop; or, to use the same ports for both, shared_ports = true in [challenge]"

// explain adds to an error of the plan how to change the plan.
func (ch *Challenge) explain(err error) error {
	var overlap *challenge.OverlapError
	var outside *challenge.OutsideError
	var high *challenge.TooHighError
	switch {
	case errors.Is(err, challenge.ErrReserved):
		return hint.With(err, "with capture = \"sockets\", requests and responses must not use the ports of knocks: set ports = \"300-999\" in [challenge], "+
			"data_bits = 2 in [challenge.request] and [challenge.response], base = 640 in [challenge.response], and an ID of 5 bytes; "+
			"or omit capture")
	case errors.As(err, &overlap):
		if next := int(overlap.Requests.Last) + 1; next+overlap.Responses.Len()-1 <= int(ch.Plan.Ports.Last) {
			return hint.With(err, fmt.Sprintf("set base = %d in [challenge.response], or shared_ports = true in [challenge]", next))
		}
		return hint.With(err, sharingHint)
	case errors.As(err, &high) && !ch.Plan.Shared:
		return hint.With(err, sharingHint)
	case errors.As(err, &outside):
		return hint.With(err, fmt.Sprintf("set ports in [challenge] so that they contain %d-%d, or set another base or fewer data_bits",
			outside.Required.First, outside.Required.Last))
	}
	return err
}
