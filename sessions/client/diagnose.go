package client

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"sallyport/verify/schedule"
)

// findings are what all attempts together have shown.
type findings struct {
	refused    int // knocks answered by "port unreachable"
	prohibited int // knocks answered by any other ICMP error
	service    error
}

func (f *findings) add(refusals map[syscall.Errno]int, service error) {
	for errno, n := range refusals {
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

// Clock is what the system says of its time synchronisation.
type Clock uint8

// What a system may say.
const (
	ClockUnknown Clock = iota
	ClockSynchronised
	ClockUnsynchronised
)

// hints turns the findings into sentences for the user.
func (f *findings) hints(p Profile, c Clock, now time.Time) (hints []string) {
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	if c == ClockUnsynchronised {
		add("this computer's clock is not synchronised; it shows %s UTC. Set it right: a server accepts knocks that are at most %.0f seconds off", now.UTC().Format("2006-01-02 15:04:05"), schedule.MaxTolerance.Seconds())
	}
	if f.refused > 0 {
		add("%d knocks were refused by ICMP (port unreachable): the host is up, but did not listen there. The server does not run, or port_secret, ports, generator or the clock differ from its own", f.refused)
	}
	if f.prohibited > 0 {
		add("%d knocks were turned away by ICMP on their way: a firewall or router between here and the server blocks UDP to high ports", f.prohibited)
	}
	switch {
	case errors.Is(f.service, errClosedAtOnce):
		add("%s takes connections but closes them at once: it is open for another address. Knocks and connections of yours seem to leave by different addresses", p.Service)
	case errors.Is(f.service, syscall.ECONNREFUSED):
		add("%s refuses connections, so the host is up: the knocks were lost or not accepted. Compare identifier, secret, port_secret and ports with the server's", p.Service)
	case timedOut(f.service):
		add("%s does not answer at all: the host is down, a firewall drops the knocks, or they were not accepted", p.Service)
	case f.service != nil:
		add("%v", f.service)
	}
	switch c {
	case ClockSynchronised:
		add("this computer's clock is synchronised (%s UTC), so it is not the reason", now.UTC().Format("2006-01-02 15:04:05"))
	case ClockUnknown:
		add("compare this computer's clock with the server's: it shows %s UTC, and more than %.0f seconds off is too much", now.UTC().Format("2006-01-02 15:04:05"), schedule.MaxTolerance.Seconds())
	}
	return hints
}

// hintSend says why knocks could not leave.
func hintSend(err error) string {
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no route to the server: is this computer online? Try -4 or -6 if the server has addresses of both families"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("this computer's own firewall forbids the knocks: allow outgoing UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
	}
	return "the knocks could not leave this computer: " + err.Error()
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
