package gate

import (
	"errors"

	"sallyport/sessions/gate/access"
)

// A lease for any address is that of an exchange without an address: its messages came
// through a resolver or a proxy. It lets every address try, and each connection must prove
// that it is of a client with a lease. So such a lease opens a service only to its client,
// whose connections may come from anywhere. The lease is one of the client's
// addresses: it counts, is displaced, closed, revoked and renewed like one. Enforcers get
// the two peers of anyone. While it lasts, a scanner sees that the port of the service
// accepts connections.

var errAnyAddress = errors.New("a lease for any address requires connections that prove themselves")

// opensToAny returns an error if a lease of the service cannot be for any address.
func (s *Service) opensToAny() error {
	if !s.proves || s.rotation != nil || s.requireISN {
		return errAnyAddress
	}
	return nil
}

// anyAddressSteps returns the steps that update the enforcers after leases for any address
// have ended. They cut no connection for its address, since that of every connection
// matches: cutProved and CutOff cut those of the client.
func (s *Service) anyAddressSteps() (steps []*step) {
	for _, p := range access.AnyAddress.Admitted() {
		steps = append(steps, &step{service: s, peer: p, ends: true, after: s.until(p)})
	}
	return steps
}
