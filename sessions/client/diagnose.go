package client

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"sallyport/verify/schedule"
)

// findings collects the observations of all attempts.
type findings struct {
	refused    int            // the number of ICMP errors "port unreachable"
	prohibited int            // the number of other ICMP errors
	at         netip.AddrPort // the service of the last attempt
	service    error          // of the last attempt to connect to the service
}

func (f *findings) add(icmpErrors map[syscall.Errno]int, at netip.AddrPort, service error) {
	for errno, n := range icmpErrors {
		if errno == syscall.ECONNREFUSED {
			f.refused += n
		} else {
			f.prohibited += n
		}
	}
	f.at = at
	if service != nil {
		f.service = service
	}
}

// up reports whether the host, or a firewall in front of it, answered.
func (f *findings) up() bool {
	return f.refused > 0 || errors.Is(f.service, syscall.ECONNREFUSED) || errors.Is(f.service, errClosedAtOnce)
}

// Clock is the synchronisation state of this computer's clock, from the system.
type Clock uint8

// The states of the clock.
const (
	ClockUnknown Clock = iota
	ClockSynchronised
	ClockUnsynchronised
)

// hints returns hints for the user. Times are in the location of now.
func (f *findings) hints(cfg Config, c Clock, now time.Time) (hints []string) {
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	if f.refused > 0 {
		add("ICMP errors (port unreachable) for %d knocks: nothing listened on their ports. "+
			"The server does not run, or port_secret, ports, generator or the clock differ from the server's; "+
			"or a firewall rejects the knocks", f.refused)
	}
	if f.prohibited > 0 {
		add("ICMP errors (unreachable) for %d knocks: the host is down, there is no route to it, "+
			"or a firewall or router on the way blocks UDP to high ports", f.prohibited)
	}
	other := otherService(cfg.Profile.Server, cfg.Profile.Service, cfg.Service)
	const compare = "Compare identifier, secret, port_secret and ports with the server's"
	switch {
	case errors.Is(f.service, errClosedAtOnce):
		add("%s accepts connections, but closes them at once. It may be open for another address: "+
			"this computer may send knocks and connections from different addresses. "+
			"Or the program behind it does not run", f.at)
	case errors.Is(f.service, syscall.ECONNREFUSED) && other != "":
		add("%s refuses connections. The service of the profile is %s: "+
			"does the server hide port %d, and open it for this client?", f.at, other, f.at.Port())
	case errors.Is(f.service, syscall.ECONNREFUSED) && f.refused > 0:
		add("%s refuses connections", f.at)
	case errors.Is(f.service, syscall.ECONNREFUSED):
		add("%s refuses connections: the knocks were lost or not accepted, "+
			"the server does not open this service for this client, or nothing listens there. %s", f.at, compare)
	case timedOut(f.service) && other != "":
		add("%s does not answer. The service of the profile is %s: "+
			"does the server hide port %d, and open it for this client?", f.at, other, f.at.Port())
	case timedOut(f.service) && f.up():
		add("%s does not answer", f.at)
	case timedOut(f.service):
		add("%s does not answer: the host is down, a firewall drops the knocks, "+
			"or the server did not accept them. %s", f.at, compare)
	case f.service != nil:
		add("connections to %s fail: %v", f.at, innermost(f.service))
	}
	clock, tolerance := now.Format("2006-01-02 15:04:05 -07:00"), schedule.MaxTolerance.Seconds()
	switch c {
	case ClockUnsynchronised:
		add("this computer's clock may be off: the kernel reports that it is not synchronised, and it shows %s. "+
			"A server accepts a difference of at most %.0f seconds", clock, tolerance)
	case ClockUnknown:
		add("compare this computer's clock with the server's: "+
			"it shows %s, and the difference must be at most %.0f seconds", clock, tolerance)
	}
	return hints
}

// otherService returns the service of the profile, if the client watches another one
// in its place, and otherwise nothing.
func otherService(server, profile, watched string) string {
	if profile == "" || watched == "" {
		return ""
	}
	host, port, err := SplitService(profile)
	watchedHost, watchedPort, watchedErr := SplitService(watched)
	if err != nil || watchedErr != nil {
		return ""
	}
	if port == watchedPort && cmp.Or(host, server) == cmp.Or(watchedHost, server) {
		return ""
	}
	return profile
}

// innermost returns the innermost error.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// sendHint returns a hint for packets that this computer could not send.
func sendHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no route to the server: is this computer online? " +
			"If the server has addresses of both families, try -4 or -6"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("this computer's own firewall or routes forbid the packets: allow outgoing UDP to ports %d to %d",
			schedule.MinPort, schedule.MaxPort)
	}
	return "the error of the system: " + err.Error()
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
