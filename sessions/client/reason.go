package client

import (
	"errors"
	"slices"
)

// Reason is why a service did not open, or what a script may want to know of one that
// did, as one word. The words are stable: later versions may add some. A reason is the
// best diagnosis of what the client saw; OfflineError.Certain has the observations, and
// Likely the conclusions.
type Reason string

// Nothing reached the server, or nothing came back.
const (
	ReasonExpired          Reason = "expired"           // the profile's time is over, so nothing was sent
	ReasonNoAddress        Reason = "no-address"        // the server's name has no address, or none of the family
	ReasonNoResolver       Reason = "no-resolver"       // names could not be resolved
	ReasonCannotSend       Reason = "cannot-send"       // this computer could not send
	ReasonUnreachable      Reason = "unreachable"       // ICMP: no host, or no route to it
	ReasonKnocksProhibited Reason = "knocks-prohibited" // ICMP: a firewall rejects the knocks
	ReasonKnocksRefused    Reason = "knocks-refused"    // ICMP: nothing listens on the ports of the knocks
	ReasonClock            Reason = "clock"             // this computer's clock has been set back
	ReasonCarrierNAT       Reason = "carrier-nat"       // this computer is behind a carrier's NAT
	ReasonAddressChanged   Reason = "address-changed"   // knocks and connections left from different addresses
	ReasonNoAnswer         Reason = "no-answer"         // the service does not answer, and nothing else is known
	ReasonRefused          Reason = "refused"           // the service refuses connections, and nothing else is known
)

// The service answered.
const (
	ReasonNotListening Reason = "not-listening"        // let in, and no program listens on the port
	ReasonUpstream     Reason = "upstream"             // let in, and the program behind the port does not run
	ReasonTooMany      Reason = "too-many-connections" // let in, and the server resets further connections
	ReasonUnproved     Reason = "unproved"             // the server does not accept the proof of connections, or does not answer it
	ReasonImpostor     Reason = "server-not-authentic" // what answers in the server's place does not have the client's secret
	ReasonReset        Reason = "reset"                // the server accepts connections, and resets them
	ReasonOtherService Reason = "other-service"        // not the service of the profile, and it does not open
	ReasonPortTaken    Reason = "port-taken"           // another program has the ports that the minute draws
)

// The challenge–response protocol.
const (
	ReasonNoChallenge     Reason = "no-challenge"     // no challenge came
	ReasonChallengeForged Reason = "challenge-forged" // no challenge was authentic
	ReasonResponseFailed  Reason = "response-failed"  // the responses opened nothing
)

// Exchanges by HTTPS and DNS.
const (
	ReasonCaptivePortal Reason = "captive-portal"    // the network requires a login, and answers in the server's place
	ReasonCertificate   Reason = "certificate"       // the certificate of the web server is not valid
	ReasonProxy         Reason = "proxy"             // a proxy requires a login, or refuses the requests
	ReasonGateway       Reason = "gateway"           // a proxy in front of the server gets no answer from it
	ReasonBusy          Reason = "too-many-requests" // the site limits requests
	ReasonRewritten     Reason = "dns-rewritten"     // a resolver changes answers
)

// The service opened, or may have opened.
const (
	ReasonOpenBefore   Reason = "open-before"   // it was open before the knock
	ReasonNoncesBehind Reason = "nonces-behind" // it opened after the nonces were moved ahead
	ReasonUnconfirmed  Reason = "unconfirmed"   // the knocks were sent, and nothing can confirm that they opened it
)

// ReasonOf returns the reason of an error of this package; empty: it has none.
func ReasonOf(err error) Reason {
	var offline *OfflineError
	var resolving *ResolveError
	var family *FamilyError
	switch {
	case errors.As(err, &offline):
		return offline.Reason
	case errors.As(err, &resolving) && !resolving.notFound():
		return ReasonNoResolver
	case errors.As(err, &resolving), errors.As(err, &family):
		return ReasonNoAddress
	}
	return ""
}

// Reason returns what to know of a service that opened, or may have opened; empty:
// nothing.
func (r Result) Reason() Reason {
	switch {
	case !r.Watched && !r.SingleUse:
		return ReasonUnconfirmed
	case r.Watched && r.Rejected:
		return ReasonKnocksRefused
	case r.OpenBefore:
		return ReasonOpenBefore
	case r.NoncesBehind:
		return ReasonNoncesBehind
	}
	return ""
}

// diagnosis explains a failure: what the client saw, what that means, the likeliest
// first, and what to do.
type diagnosis struct {
	reason                Reason
	certain, likely, todo []string
}

// hints returns all lines.
func (d diagnosis) hints() []string { return slices.Concat(d.certain, d.likely, d.todo) }
