package client

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"sallyport/verify/schedule"
)

// findings collects the observations of all attempts.
type findings struct {
	refused    int   // the number of ICMP errors "port unreachable"
	prohibited int   // the number of other ICMP errors
	service    error // of the last attempt to connect to the service
}

func (f *findings) add(icmpErrors map[syscall.Errno]int, service error) {
	for errno, n := range icmpErrors {
		if errno == syscall.ECONNREFUSED {
			f.refused += n
		} else {
			f.prohibited += n
		}
	}
	if service != nil {
		f.service = service
	}
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
func (f *findings) hints(p Profile, c Clock, now time.Time) (hints []string) {
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	clock, tolerance := now.Format("2006-01-02 15:04:05 -07:00"), schedule.MaxTolerance.Seconds()
	if c == ClockUnsynchronised {
		add("this computer's clock is not synchronised; it shows %s. Set the clock: "+
			"a server accepts a difference of at most %.0f seconds", clock, tolerance)
	}
	if f.refused > 0 {
		add("ICMP errors (port unreachable) for %d knocks: the host is up, but nothing listened on their ports. "+
			"The server does not run, or port_secret, ports, generator or the clock differ from the server's", f.refused)
	}
	if f.prohibited > 0 {
		add("ICMP errors (blocked on the way) for %d knocks: "+
			"a firewall or router between this computer and the server blocks UDP to high ports", f.prohibited)
	}
	switch {
	case errors.Is(f.service, errClosedAtOnce):
		add("%s accepts connections, but closes them at once: it is open for another address. "+
			"This computer may send knocks and connections from different addresses", p.Service)
	case errors.Is(f.service, syscall.ECONNREFUSED):
		add("%s refuses connections, so the host is up: the knocks were lost or not accepted. "+
			"Compare identifier, secret, port_secret and ports with the server's", p.Service)
	case timedOut(f.service):
		add("%s does not answer: "+
			"the host is down, a firewall drops the knocks, or the server did not accept them", p.Service)
	case f.service != nil:
		add("%v", f.service)
	}
	switch c {
	case ClockSynchronised:
		add("this computer's clock is synchronised (%s), and therefore not the cause", clock)
	case ClockUnknown:
		add("compare this computer's clock with the server's: "+
			"it shows %s, and the difference must be at most %.0f seconds", clock, tolerance)
	}
	return hints
}

// sendHint returns a hint for packets that this computer could not send.
func sendHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no route to the server: is this computer online? " +
			"If the server has addresses of both families, try -4 or -6"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("this computer's own firewall blocks the knocks: allow outgoing UDP to ports %d to %d",
			schedule.MinPort, schedule.MaxPort)
	}
	return "this computer could not send the knocks: " + err.Error()
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
