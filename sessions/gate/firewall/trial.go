package firewall

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/sessions/gate/access"
)

// Trial has the services that are on trial, each with the time of clock.Monotonic at
// which its trial is over. Until then an element of the kernel shuts its ports. When
// the element times out, the ports are open to anyone, even if no process of ours
// lives. With StealthTrial, the same holds for Stealth.
type Trial map[access.ServiceID]time.Time

// StealthTrial stands for Stealth in a Trial. No service has this identifier.
var StealthTrial access.ServiceID

// ErrTrialLabels means that a trial is not possible: without labels, the table can
// neither let earlier connections continue nor recognize those that a grant let in.
var ErrTrialLabels = errors.New("a trial requires labels of connections (CONFIG_NF_CONNTRACK_LABELS)")

// Has reports whether a service is on trial, also if its trial is over.
func (t Trial) Has(id access.ServiceID) bool {
	_, ok := t[id]
	return ok
}

// trialSuffix ends the names of the sets that shut what is on trial.
const trialSuffix = "_trial"

// stealthTrialSet shuts what Stealth drops. Its name has a reserved prefix.
const stealthTrialSet = "udp_stealth" + trialSuffix

// stealthChain is the name of the chain of Stealth.
const stealthChain = "stealth"

func (p Port) trialSet() string { return p.name() + trialSuffix }

func isTrial(set string) bool { return strings.HasSuffix(set, trialSuffix) }

// onTrial reports whether a port can be, and is, on trial.
func (c Config) onTrial(p Port) bool { return p.canTry() && c.Trial.Has(p.Service) }

// stealthOnTrial reports whether Stealth is on trial.
func (c Config) stealthOnTrial() bool { return c.Stealth && c.Trial.Has(StealthTrial) }

// canTry reports whether the port can be on trial: anyone reached its program before.
// The server itself listens on the others, or stands before the program.
func (p Port) canTry() bool { return !p.listens() && !p.proxied() }

// trialEnds returns when each trial is over, by the names of the sets.
func (c Config) trialEnds() map[string]time.Time {
	ends := map[string]time.Time{}
	for _, p := range c.Ports {
		if c.onTrial(p) {
			ends[p.trialSet()] = c.Trial[p.Service]
		}
	}
	if c.stealthOnTrial() {
		ends[stealthTrialSet] = c.Trial[StealthTrial]
	}
	return ends
}

// NextEnd returns when the next trial after a time is over; zero: none is.
func (t Trial) NextEnd(after time.Time) (next time.Time) {
	for _, end := range t {
		if end.After(after) && (next.IsZero() || end.Before(next)) {
			next = end
		}
	}
	return next
}

func (c Config) validateTrial() error {
	for id := range c.Trial {
		if id != StealthTrial && !slices.ContainsFunc(c.Ports, func(p Port) bool { return p.Service == id && p.canTry() }) {
			return fmt.Errorf("service %s cannot be on trial: it has no port of another program", id)
		}
	}
	return nil
}

// portChain matches the names of the chains of ports.
var portChain = regexp.MustCompile(`^(tcp|udp)_([0-9]+)(?:_([0-9]+))?(_etc)?$`)

// AmbiguousError means that a table hides some of a service's ports, or may do so, but
// not exactly these.
type AmbiguousError struct{ Chain string }

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("the ports have changed: the chain %s of the table inet %s may hide some of them already", e.Chain, Name)
}

// Hides reports whether the table hides a port, and not on trial. It returns an
// *AmbiguousError if it may hide a part.
func (s Standing) Hides(p Port) (bool, error) {
	if slices.Contains(s.hidden, p.name()) {
		return true, nil
	}
	for _, name := range s.hidden {
		m := portChain.FindStringSubmatch(name)
		if m == nil || m[1] != p.Protocol.String() {
			continue
		}
		first, _ := strconv.ParseUint(m[2], 10, 16)
		last, _ := strconv.ParseUint(m[3], 10, 16)
		of := access.Ports{First: uint16(first), Last: uint16(max(first, last))}
		overlaps := func(a At) bool { return a.Ports.Overlaps(of) }
		if m[4] != "" || slices.ContainsFunc(p.All(), overlaps) {
			return false, &AmbiguousError{name}
		}
	}
	return false, nil
}

// Tries reports whether something is on trial in the table.
func (s Standing) Tries() bool { return s.tries }

// HidesStealth reports whether the table has Stealth, and not on trial.
func (s Standing) HidesStealth() bool { return slices.Contains(s.hidden, stealthChain) }
