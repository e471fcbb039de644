package client

import (
	"errors"
	"fmt"
	"net/netip"

	"sallyport/verify/preamble"
)

// symptom is what the client saw of the service after it knocked, or after it responded
// to a challenge.
type symptom struct {
	at     netip.AddrPort // the service; invalid: the client did not connect to it
	err    error          // of the last attempt to connect
	before before         // what the service did before
	// sentFrom and connectedFrom are this computer's addresses of the knocks, and of the
	// connections. They are invalid if they are not known.
	sentFrom, connectedFrom netip.Addr
	own                     int  // connections of this computer to the service that are in force
	granted                 bool // only an address that the server has let in can complete a handshake with it
}

// moved reports whether the knocks and the connections left from different addresses.
// Addresses of different families have no meaning: the service is on another host.
func (s symptom) moved() bool {
	a, b := s.sentFrom.WithZone(""), s.connectedFrom.WithZone("")
	return a.IsValid() && b.IsValid() && a.Is4() == b.Is4() && a != b
}

// letIn reports whether the service refuses connections that it dropped before: the port
// is open, and nothing listens there.
func (s symptom) letIn() bool { return refused(s.err) && s.before == beforeSilent }

// showsGrant reports whether a connection was accepted as only one of an address, or a
// client, that the server has let in. Granted: only such addresses can connect.
func (s symptom) showsGrant(granted bool) bool {
	return errors.Is(s.err, errProved) || granted && errors.Is(s.err, errClosedAtOnce)
}

// opened reports whether the service accepts connections that it did not accept before.
func (s symptom) opened() bool {
	return errors.Is(s.err, errClosedAtOnce) && (s.before == beforeSilent || s.before == beforeRefused)
}

// answered reports whether the host of the service answered, or a firewall in front of it.
func (s symptom) answered() bool { return refused(s.err) || errors.Is(s.err, errClosedAtOnce) }

// diagnose explains what the answer of the service shows. Not ok: it shows nothing. What
// names what the client sent: "knock" or "request".
func (s symptom) diagnose(what string) (d diagnosis, ok bool) {
	switch {
	case errors.Is(s.err, preamble.ErrNotAuthentic):
		d.reason = ReasonImpostor
		d.see("what answers at %s cannot prove that it is the server: it does not have the secret of this client, or does not know bind = \"connection\"", s.at)
		d.conclude("the service has no bind = \"connection\" at the server; or another program has its port, or someone on the way answers in its place")
		d.advise("nothing of your data was sent; ask the administrator")
	case errors.Is(s.err, errUnproved) && timedOut(s.err):
		d.reason = ReasonUnproved
		d.see("%s accepts connections, and does not answer their preamble", s.at)
		d.conclude("the service has no bind = \"connection\" at the server, or the server is overloaded")
	case closedByProgram(s.err):
		d.reason = ReasonUpstream
		d.see("%s", s.text(what))
		d.conclude("the program behind %s does not run, or does not serve this computer", s.at)
	case s.letIn():
		d.reason = ReasonNotListening
		d.see("%s", s.text(what))
		d.conclude("the server lets in this computer, but no program listens on port %d", s.at.Port())
	case s.moved():
		d.reason = ReasonAddressChanged
		d.see("the %ss left from %s, and the connections from %s", what, s.sentFrom, s.connectedFrom)
		d.see("%s", s.text(what))
		d.conclude("the server has let in %s, and not %s: this computer's address has changed, or it sends UDP and TCP by different routes",
			s.sentFrom, s.connectedFrom)
		d.advise("try again; if the addresses differ again, send both by one route, or ask the administrator for grant_prefix4 or grant_prefix6")
	case errors.Is(s.err, errClosedAtOnce):
		s.diagnoseReset(&d, what)
	default:
		return d, false
	}
	return d, true
}

// diagnoseReset explains a service that accepts connections and resets them: that is
// how a server ends the connection of a stranger, and one too many.
func (s symptom) diagnoseReset(d *diagnosis, what string) {
	d.see("%s", s.text(what))
	tooMany := "too many connections: the server limits those of an address (max_connections), and those of others behind the same NAT count too"
	stranger := fmt.Sprintf("%s is open for another address: this computer sends %ss and connections from different addresses, or the %ss were lost", s.at, what, what)
	program := "the program behind it resets connections, or does not run behind a proxy"
	if s.own > 0 {
		d.see("this computer has %d connections to %s", s.own, s.at)
	}
	switch {
	case errors.Is(s.err, errUnproved):
		d.reason = ReasonUnproved
		d.conclude("the server does not accept the proof of the connection: the client has lost the right to the service, service_name, the secret or the clock differ from the server's, or another device with this profile has used higher nonces")
		if s.granted {
			d.see("only an address that the server has let in can connect to it")
		} else {
			d.conclude("%s", stranger)
		}
	case errors.Is(s.err, errProved) && s.own == 0:
		d.reason = ReasonReset
		d.see("the server had accepted the proof of the connection")
		d.conclude("%s", program)
		d.conclude("%s", tooMany)
	case errors.Is(s.err, errProved):
		d.reason = ReasonTooMany
		d.see("the server had accepted the proof of the connection")
		d.conclude("%s", tooMany)
		d.conclude("%s", program)
	case s.granted:
		d.reason = ReasonTooMany
		d.see("only an address that the server has let in can connect to it")
		d.conclude("%s", tooMany)
		d.conclude("%s", program)
	case s.own > 0:
		d.reason = ReasonTooMany
		d.conclude("%s", tooMany)
		d.conclude("%s", stranger)
	case s.opened():
		d.reason = ReasonReset
		d.conclude("%s", tooMany)
		d.conclude("%s", stranger)
		d.conclude("%s", program)
	default:
		d.reason = ReasonReset
		d.conclude("%s", stranger)
		d.conclude("%s", tooMany)
		d.conclude("%s", program)
	}
	if !errors.Is(s.err, errUnproved) && !errors.Is(s.err, errProved) {
		d.conclude("the server requires a proof of each connection (bind = \"connection\"), and this profile is from before: ask the administrator for a new profile")
	}
}

// text is what the service did before and after.
func (s symptom) text(what string) string {
	now := fmt.Sprintf("connections to %s fail: %v", s.at, innermost(s.err))
	switch {
	case closedByProgram(s.err):
		now = fmt.Sprintf("%s accepts connections, and closes them in order without a byte", s.at)
	case errors.Is(s.err, errClosedAtOnce):
		now = fmt.Sprintf("%s accepts connections, and resets them without a byte", s.at)
	case refused(s.err):
		now = fmt.Sprintf("%s refuses connections", s.at)
	case timedOut(s.err):
		now = fmt.Sprintf("%s does not answer", s.at)
	}
	accepts := errors.Is(s.err, errClosedAtOnce)
	same := s.before == beforeSilent && timedOut(s.err) || s.before == beforeRefused && refused(s.err) ||
		s.before == beforeClosed && accepts
	switch {
	case same:
		return now + fmt.Sprintf(", as before the %s", what)
	case s.before == beforeSilent:
		return now + fmt.Sprintf("; it did not answer before the %s", what)
	case s.before == beforeRefused:
		return now + fmt.Sprintf("; it refused connections before the %s", what)
	case s.before == beforeOpen && !accepts:
		return now + fmt.Sprintf("; it accepted connections before the %s", what)
	case s.before == beforeOpen:
		return now + fmt.Sprintf("; it accepted connections before the %s, too", what)
	}
	return now
}

func (d *diagnosis) see(format string, args ...any) {
	d.certain = append(d.certain, fmt.Sprintf(format, args...))
}
func (d *diagnosis) conclude(format string, args ...any) {
	d.likely = append(d.likely, fmt.Sprintf(format, args...))
}
func (d *diagnosis) advise(format string, args ...any) {
	d.todo = append(d.todo, fmt.Sprintf(format, args...))
}
