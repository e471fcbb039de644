package client

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"sallyport/verify/schedule"
)

// OfflineError is the error if no attempt opened the service.
type OfflineError struct {
	Server   string
	Service  netip.AddrPort // of the last attempt; invalid: the client did not connect to one
	Attempts int
	Up       bool     // the host, or a firewall in front of it, answered a packet
	Hints    []string // about the cause, the most likely one first
	err      error
	unsent   bool // this computer could not send
	opened   bool // the service let this computer in, but has no program behind it
	rejected bool // without a service to watch: there were ICMP errors for the knocks
}

func (e *OfflineError) Error() string {
	times := fmt.Sprintf("%d attempts", e.Attempts)
	if e.Attempts == 1 {
		times = "one attempt"
	}
	switch {
	case e.unsent:
		return "this computer cannot send to " + e.Server
	case e.rejected:
		return fmt.Sprintf("%s: the knocks did not arrive: ICMP errors in %s", e.Server, times)
	case e.opened:
		return fmt.Sprintf("%s: the service %s is open, but no program answers there", e.Server, e.Service)
	case e.Up && e.Service.IsValid():
		return fmt.Sprintf("%s: the service %s did not open after %s", e.Server, e.Service, times)
	case e.Up:
		return fmt.Sprintf("%s: the service did not open after %s", e.Server, times)
	}
	return fmt.Sprintf("%s seems offline: no answer after %s", e.Server, times)
}

func (e *OfflineError) Unwrap() error { return e.err }

// Hint returns the hints, one on each line.
func (e *OfflineError) Hint() string { return strings.Join(e.Hints, "\n") }

// cannotSend returns the error if this computer cannot send to any address.
func (k *knocking) cannotSend(attempts int, errs []error) error {
	err := errors.Join(errs...)
	ports := fmt.Sprintf("UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
	return &OfflineError{
		Server: k.cfg.Profile.Server, Attempts: attempts, Hints: []string{sendHint(err, ports)}, err: err, unsent: true,
	}
}

// offline returns the error if no attempt had a result.
func (k *knocking) offline(attempts int) error {
	f := &k.found
	hints := f.hints(k.cfg, ClockState(), k.cfg.Now())
	if attempts == 1 && k.cfg.Attempts == 1 && f.at.IsValid() {
		hints = append(hints, "if another device uses this profile, or it comes from a backup: "+
			"knock once more, since the next attempt moves the nonces ahead. Each device needs its own client")
	}
	arrived := f.refused+f.unreachable+f.prohibited == 0 && !f.letIn() && !closedByProgram(f.service)
	if arrived && k.nonces.unopened >= DefaultAttempts {
		hints = append(hints, fmt.Sprintf("if the server has a shield, and the nonces of this device were lost or come from an old backup: "+
			"ask the administrator to run: sallyportd client resync %s", k.cfg.Profile.Identifier))
	}
	return &OfflineError{
		Server: k.cfg.Profile.Server, Service: f.at, Attempts: attempts, Up: f.up(),
		Hints: hints, err: f.service,
		opened: closedByProgram(f.service) || f.letIn(), rejected: !f.at.IsValid(),
	}
}
