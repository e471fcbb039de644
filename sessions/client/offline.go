package client

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"sallyport/sessions/syserror"
	"sallyport/verify/schedule"
)

// OfflineError is the error if no attempt opened the service.
type OfflineError struct {
	Server   string
	Service  netip.AddrPort // of the last attempt; invalid: the client did not connect to one
	Attempts int
	Up       bool // the host, or a firewall in front of it, answered a packet
	Reason   Reason
	Certain  []string // what the client saw
	Likely   []string // what that means, the likeliest first
	Advice   []string // what to do
	Hints    []string // all of these
	err      error
	found    string    // the answer in place of a challenge; empty: there was none
	letIn    bool      // the connections show that the server has let this computer in
	rejected bool      // without a service to watch: there were ICMP errors for the knocks
	expires  time.Time // of an expired profile
}

// offlineError completes an error by a diagnosis.
func offlineError(e OfflineError, d diagnosis) *OfflineError {
	e.Reason, e.Certain, e.Likely, e.Advice, e.Hints = d.reason, d.certain, d.likely, d.todo, d.hints()
	return &e
}

func (e *OfflineError) Error() string {
	times := attempts(e.Attempts)
	switch {
	case e.Reason == ReasonExpired:
		return fmt.Sprintf("%s: this client expired on %s; nothing was sent", e.Server, e.expires.UTC().Format(time.DateOnly))
	case e.Reason == ReasonCannotSend:
		return "this computer cannot send to " + e.Server
	case e.rejected:
		return fmt.Sprintf("%s: the knocks did not arrive: ICMP errors in %s", e.Server, times)
	case e.Reason == ReasonNotListening || e.Reason == ReasonUpstream:
		return fmt.Sprintf("%s: the service %s is open, but no program answers there", e.Server, e.Service)
	case e.Reason == ReasonUnproved:
		return fmt.Sprintf("%s: the service %s does not accept the proof of connections", e.Server, e.Service)
	case e.Reason == ReasonImpostor:
		return fmt.Sprintf("%s: another program than the server answers at %s", e.Server, e.Service)
	case e.Reason == ReasonTooMany || e.Reason == ReasonReset:
		return fmt.Sprintf("%s: the service %s resets each connection", e.Server, e.Service)
	case (e.Up || e.Reason == ReasonAddressChanged || e.Reason == ReasonCarrierNAT) && e.Service.IsValid():
		return fmt.Sprintf("%s: the service %s did not open after %s", e.Server, e.Service, times)
	case e.Up:
		return fmt.Sprintf("%s: the service did not open after %s", e.Server, times)
	case e.found != "":
		return fmt.Sprintf("%s: no challenge after %s: %s", e.Server, times, e.found)
	}
	return fmt.Sprintf("%s seems offline: no answer after %s", e.Server, times)
}

func (e *OfflineError) Unwrap() error { return e.err }

// Hint returns the hints, one on each line.
func (e *OfflineError) Hint() string { return strings.Join(e.Hints, "\n") }

// Diagnosis returns the parts of the hints, for programs that print them apart.
func (e *OfflineError) Diagnosis() (certain, likely, advice []string) {
	return e.Certain, e.Likely, e.Advice
}

// ReasonCode returns the reason as one word.
func (e *OfflineError) ReasonCode() string { return string(e.Reason) }

// ReasonCode returns the reason as one word.
func (e *ResolveError) ReasonCode() string { return string(ReasonOf(e)) }

// ReasonCode returns the reason as one word.
func (e *FamilyError) ReasonCode() string { return string(ReasonOf(e)) }

// cannotSend returns the error if this computer cannot send to any address.
func (k *knocking) cannotSend(attempts int, errs []error) error {
	ports := fmt.Sprintf("UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
	return cannotSend(k.cfg.Profile.Server, attempts, errors.Join(errs...), ports)
}

// cannotSend returns the error if this computer cannot send. ports are those to which the
// packets go.
func cannotSend(server string, attempts int, err error, ports string) error {
	d := diagnosis{reason: ReasonCannotSend}
	for _, e := range each(innermost(err)) {
		d.see("the error of the system: %v", e)
	}
	switch {
	case syserror.NoRoute.In(err):
		d.conclude("there is no route to the server: this computer is offline")
	case syserror.Forbidden.In(err):
		d.conclude("this computer's own firewall or routes forbid the packets")
		d.advise("allow outgoing %s", ports)
	}
	return offlineError(OfflineError{Server: server, Attempts: attempts, err: err}, d)
}

// offline returns the error if no attempt had a result.
func (k *knocking) offline(attempts int) error {
	f := &k.found
	d := f.diagnose(k.circumstances(attempts))
	if s := k.cfg.Profile.split; s != nil && !k.cfg.closes && !f.letIn() {
		s.explain(&d, f.split)
	}
	return offlineError(OfflineError{
		Server: k.cfg.Profile.Server, Service: f.at, Attempts: attempts, Up: f.up(), err: f.service,
		letIn: f.symptom().showsGrant(k.granted), rejected: !f.at.IsValid(),
	}, d)
}

// circumstances collects what the client knows without a packet of the server.
func (k *knocking) circumstances(attempts int) circumstances {
	p := k.cfg.Profile
	return circumstances{
		clock:    clockFacts{state: ClockState(), now: k.cfg.Now(), recorded: k.recorded},
		other:    otherService(p.Server, p.Service, k.cfg.Service),
		granted:  k.granted,
		own:      k.found.symptom().ownConnections(),
		isn:      p.Bind == BindISN && k.cfg.Keep,
		single:   attempts == 1 && k.cfg.Attempts == 1,
		unopened: k.nonces.unopened,
		opened:   k.cfg.Nonces.hasOpened(),
		client:   p.Identifier.String(),
	}
}

// ownConnections counts this computer's connections to a service that resets further
// ones.
func (s symptom) ownConnections() int {
	if closedByProgram(s.err) || !errors.Is(s.err, errClosedAtOnce) {
		return 0
	}
	return connectionsTo(s.at)
}

// innermost returns the innermost error.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// each returns the errors that are joined in err.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || syserror.TimedOut.In(err) || errors.As(err, &timeout) && timeout.Timeout()
}
