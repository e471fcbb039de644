package client

import (
	"cmp"
	"slices"
	"time"

	"sallyport/verify/schedule"
)

// circumstances is what the client knows without a packet of the server.
type circumstances struct {
	clock    clockFacts
	other    string // the service of the profile, if the client watched another one
	granted  bool   // as in symptom
	own      int    // as in symptom
	isn      bool   // the service requires a sequence number
	single   bool   // there was one attempt, with the next nonces of the record
	unopened int    // attempts in a row that opened nothing, as the record has it
	opened   bool   // this device has opened something with this secret before
	client   string // its identifier
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

// explainOther adds that the client watched another service than that of the profile.
func (c circumstances) explainOther(d *diagnosis, s symptom) {
	d.see("the service of the profile is %s", c.other)
	d.conclude("the server does not hide port %d, or does not open it for this client", s.at.Port())
}

// Clock is the synchronisation state of this computer's clock, from the system.
type Clock uint8

// The states of the clock.
const (
	ClockUnknown Clock = iota
	ClockSynchronised
	ClockUnsynchronised
)

// clockFacts is what the client knows about this computer's clock.
type clockFacts struct {
	state Clock
	now   time.Time // as it shows it, in the location for people
	// recorded is when this device wrote its nonce file, before this call of Knock; zero:
	// unknown.
	recorded time.Time
}

// wrong reports whether the clock has been set back since the device knocked last.
func (c clockFacts) wrong() bool { return c.recorded.After(c.now.Add(schedule.MaxTolerance)) }

// explain adds what is known about the clock to a diagnosis of knocks that did not
// arrive, or were not accepted.
func (c clockFacts) explain(d *diagnosis) {
	const format = "2006-01-02 15:04:05 -07:00"
	shows, tolerance := c.now.Format(format), schedule.MaxTolerance.Seconds()
	switch {
	case c.wrong():
		d.reason = ReasonClock
		d.see("this computer's clock shows %s, and when this device knocked before it showed %s", shows, c.recorded.In(c.now.Location()).Format(format))
		d.likely = slices.Insert(d.likely, 0, "this computer's clock is wrong")
		d.advise("set the clock: a server accepts a difference of at most %.0f seconds", tolerance)
	case c.state == ClockUnsynchronised:
		d.see("the kernel reports that this computer's clock is not synchronised; it shows %s", shows)
		d.conclude("the clock is off by more than the server accepts, which is at most %.0f seconds", tolerance)
	case c.state == ClockUnknown:
		d.advise("compare this computer's clock with the server's: it shows %s, and the difference must be at most %.0f seconds", shows, tolerance)
	}
}

// diagnoseUnchanged explains a service that the knocks have not changed: all that the
// client sees is that they opened nothing.
func (f *findings) diagnoseUnchanged(d *diagnosis, s symptom, c circumstances) {
	d.see("%s", s.text("knock"))
	d.reason = ReasonNoAnswer
	if refused(s.err) {
		d.reason = ReasonRefused
	}
	way := natTo(f.sentFrom, f.server)
	observed := way == natOfCarrier || c.clock.wrong() || c.clock.state == ClockUnsynchronised
	if way == natOfCarrier {
		d.reason = ReasonCarrierNAT
		d.see("this computer's address, %s, is one that a carrier's NAT gives", f.sentFrom)
	}
	if way == natOfCarrier || way == natPresent {
		d.conclude("a NAT sends the knocks of one attempt from several addresses: " + natAdvice)
	}
	c.clock.explain(d)
	if c.single {
		d.conclude("another device uses this profile, or it comes from a backup, and the server has accepted higher nonces: " +
			"knock once more, since the next attempt moves the nonces ahead. Each device needs its own client")
	}
	if timedOut(s.err) {
		d.conclude("the host is down, or a firewall drops the knocks: UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
	} else {
		d.conclude("the knocks were lost, or a firewall drops them: UDP to ports %d to %d", schedule.MinPort, schedule.MaxPort)
	}
	if c.isn && timedOut(s.err) {
		d.conclude("%s", isnHint)
	}
	d.conclude("the server does not open this service for this client, " +
		"or could not open it: its port is in use, or a program or a command that it starts has failed")
	if refused(s.err) {
		d.conclude("the server lets this computer in, and no program listens on port %d", s.at.Port())
	}
	switch {
	case c.opened:
		d.conclude("the administrator has removed this client, or changed its secret, port_secret or ports: " +
			"this device has opened a service with this secret before")
	case !observed:
		d.conclude("the profile differs from the server: compare identifier, secret, port_secret and ports")
	}
	d.adviseTrace(c.client)
	if c.unopened >= DefaultAttempts {
		d.advise("if the server has a shield, and the nonces of this device were lost or come from an old backup: "+
			"ask the administrator to run: sallyportd client resync %s", c.client)
	}
}

// adviseTrace names what the server knows better: it has no answer for this client, but an
// administrator can ask it. The argument is the client, or the operation.
func (d *diagnosis) adviseTrace(who string) {
	d.advise("ask the administrator for: sallyportd trace %s. It explains why the server refuses packets, while you try again", who)
}

// natAdvice is what helps against a NAT that sends from several addresses. The words are
// those of the server: its counter, and its key.
const natAdvice = "the server counts such attempts (session_other_source), and its administrator can set grant_prefix4"
