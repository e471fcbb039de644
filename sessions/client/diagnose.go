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
	refused     int                 // the number of ICMP errors "port unreachable"
	unreachable int                 // the number of ICMP errors "host unreachable", and of similar ones
	prohibited  int                 // the number of ICMP errors of firewalls
	rejected    map[netip.Addr]bool // of an attempt, no knock arrived at this address
	icmp        map[netip.Addr]bool // addresses with ICMP errors for knocks
	before      before              // what the service did before the first knock
	at          netip.AddrPort      // the service of the most informative attempt
	service     error               // of the last attempt to connect to the service
}

// add adds an attempt in which the service did not answer.
func (f *findings) add(tr *trial) {
	f.addICMP(tr)
	if tr.icmp.all(len(tr.sender.ports)) {
		if f.rejected == nil {
			f.rejected = map[netip.Addr]bool{}
		}
		f.rejected[tr.knock] = true
	}
	// An answer of one address reveals more than the silence of another.
	if f.service == nil || !timedOut(tr.err) || timedOut(f.service) {
		if f.at != tr.service {
			f.before = beforeUnknown
		}
		if tr.before != beforeUnknown {
			f.before = tr.before
		}
		f.at, f.service = tr.service, tr.err
	}
}

func (f *findings) addICMP(tr *trial) {
	e := tr.icmp
	if len(e) > 0 {
		if f.icmp == nil {
			f.icmp = map[netip.Addr]bool{}
		}
		f.icmp[tr.knock] = true
	}
	f.refused += e.count(portUnreachable)
	f.unreachable += e.count(hostUnreachable)
	f.prohibited += e.count(prohibited)
}

// up reports whether the host, or a firewall in front of it, answered.
func (f *findings) up() bool {
	return f.refused > 0 || refused(f.service) || errors.Is(f.service, errClosedAtOnce)
}

// letIn reports whether the service refuses connections that it dropped before the
// knock: the knock opened the port, and nothing listens there.
func (f *findings) letIn() bool {
	return refused(f.service) && f.before == beforeSilent && f.refused == 0
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
	if f.unreachable > 0 {
		add("ICMP errors (unreachable) for %d knocks: the host is down, or there is no route to it", f.unreachable)
	}
	if f.prohibited > 0 {
		add("ICMP errors (prohibited) for %d knocks: a firewall of the host, or on the way to it, rejects them: "+
			"it must allow UDP to ports %d to %d", f.prohibited, schedule.MinPort, schedule.MaxPort)
	}
	icmp := f.refused+f.unreachable+f.prohibited > 0
	other := otherService(cfg.Profile.Server, cfg.Profile.Service, cfg.Service)
	const compare = "Compare identifier, secret, port_secret and ports with the server's"
	changed := map[before]string{
		beforeSilent:  "It did not answer before the knock, so the server has opened it",
		beforeRefused: "It refused connections before the knock, so the server has opened it",
		beforeOpen:    "It accepted connections before the knock, too",
		beforeClosed:  "It did the same before the knock",
	}[f.before]
	switch {
	case closedByProgram(f.service):
		add("%s accepts connections, and closes them at once: the program behind it does not run, or does not serve this computer%s",
			f.at, sentence(changed))
	case errors.Is(f.service, errClosedAtOnce):
		add("%s accepts connections, and resets them at once: it is open for another address, "+
			"because this computer sends knocks and connections from different addresses or the knocks were lost; "+
			"or the program behind it does not run%s", f.at, sentence(changed))
	case f.letIn():
		add("%s did not answer before the knock, and refuses connections since: "+
			"the server lets this computer in, but no program listens on port %d", f.at, f.at.Port())
		return hints
	case refused(f.service) && other != "":
		add("%s refuses connections. The service of the profile is %s: "+
			"does the server hide port %d, and open it for this client?", f.at, other, f.at.Port())
	case refused(f.service) && icmp:
		add("%s refuses connections", f.at)
	case refused(f.service):
		add("%s refuses connections%s: the knocks were lost or not accepted, "+
			"the server does not open this service for this client, "+
			"or could not open it (its port is in use, or a program or a command that it starts has failed), "+
			"or no program listens there. %s", f.at, refusedBefore(f.before), compare)
	case timedOut(f.service) && other != "":
		add("%s does not answer. The service of the profile is %s: "+
			"does the server hide port %d, and open it for this client?", f.at, other, f.at.Port())
	case timedOut(f.service) && (icmp || f.up()):
		add("%s does not answer", f.at)
	case timedOut(f.service):
		add("%s does not answer: the host is down, a firewall drops the knocks, "+
			"the server did not accept them, or it could not open the port (a program or a command that it starts has failed). %s", f.at, compare)
	case errors.Is(f.service, errTaken):
		add("%s accepted connections before the knock, so the client did not use it: another program of the server's host has "+
			"this port, or another device has opened it in this minute; at the other ports of the minute nothing answers", f.at)
	case f.service != nil:
		add("connections to %s fail: %v", f.at, innermost(f.service))
	}
	if timedOut(f.service) && cfg.Profile.Bind == BindISN && cfg.Keep {
		add("%s", isnHint)
	}
	if closedByProgram(f.service) || f.unreachable > 0 {
		return hints // the clock has nothing to do with it
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

// sentence returns a sentence that follows another.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return ". " + text
}

func refusedBefore(b before) string {
	if b == beforeRefused {
		return ", as before the knock"
	}
	return ""
}

// otherService returns the service of the profile, if the client watches another one
// in its place, and otherwise nothing.
func otherService(server, profile, watched string) string {
	if profile == "" || watched == "" {
		return ""
	}
	p, err := ParseService(profile)
	w, watchedErr := ParseService(watched)
	if err != nil || watchedErr != nil {
		return ""
	}
	if p.Port == w.Port && p.Rotates == w.Rotates && p.UDP == w.UDP && cmp.Or(p.Host, server) == cmp.Or(w.Host, server) {
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

// sendHint returns a hint for packets that this computer could not send. ports are
// those to which they go.
func sendHint(err error, ports string) string {
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no route to the server: is this computer online? " +
			"If the server has addresses of both families, try -4 or -6"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return "this computer's own firewall or routes forbid the packets: allow outgoing " + ports
	}
	return "the error of the system: " + err.Error()
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
