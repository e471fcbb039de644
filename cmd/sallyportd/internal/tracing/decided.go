package tracing

import (
	"fmt"
	"math"
	"strings"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/sessions/gate/access"
)

// explainKnock puts into words why an authenticated knock does not count.
func (t *Trace) explainKnock(l *admin.TraceLine, d sessions.Decision) {
	k := &d.Knock
	stamp := time.Unix(int64(k.Timestamp()), 0).UTC()
	nonce, seconds := k.Nonce(), int64(stamp.Sub(l.Time.Truncate(time.Second))/time.Second)
	l.Knock, l.Of, l.Nonce, l.Lowest, l.Highest = int(k.Sequence())+1, int(k.Maximum())+1, &nonce, &d.Lowest, &d.Highest
	l.Stamp, l.ClockOff = &stamp, &seconds
	var why string
	switch d.Outcome {
	case sessions.Replay:
		why = fmt.Sprintf("its nonce %d is used already: the lowest that is accepted is %d, the highest used is %d", nonce, d.Lowest, d.Highest)
		l.Hint = behind
	case sessions.BeforeStart:
		why, l.Hint = beforeStart(stamp, d.NotBefore)
	case sessions.OtherSource:
		why = fmt.Sprintf("it came from %s, and the first knock of its attempt from %s: the attempt opens nothing", access.AddressText(d.Source), access.AddressText(d.First))
		l.Hint = "if the client's network sends from several addresses, set grant_prefix4 or grant_prefix6 of its services; otherwise another host has sent its knocks"
	case sessions.Older:
		why = "it is of another attempt than those that the server follows: older ones are refused once a newer one has begun for two seconds, and so are attempts that share nonces"
		l.Hint = "the network delivered it late; or two devices use the same profile: each needs its own client"
	case sessions.OtherMinute:
		why = "it is for another minute than the first knock of its attempt"
		l.Hint = "the client is faulty, or two devices use the same profile"
	case sessions.OtherPurpose:
		why = "it closes, and its attempt opens, or the reverse"
		l.Hint = "the client is faulty, or two devices use the same profile"
	case sessions.RateLimited:
		why = "it completed its attempt, but the client has completed too many lately: nothing opens"
		l.Hint = "a program on the device knocks too often; it gets in again after some seconds without a knock"
	case sessions.Unknown:
		why = "the client or its secret was just removed, or replaced"
		l.Hint = "sallyportd client list"
	default:
		why = "the server refused it: " + d.Outcome.String()
	}
	l.Text = fmt.Sprintf("knock %d of %d: %s", l.Knock, l.Of, why)
}

// beforeStart explains a knock from before the server received all knocks.
func beforeStart(stamp time.Time, notBefore int64) (text, hint string) {
	if notBefore == math.MaxInt64 {
		return "the server does not accept knocks of this client yet: it has just started, or got the client", "the client tries again by itself"
	}
	text = fmt.Sprintf("it is stamped %s, and the server refuses stamps up to %s: it did not run then, was suspended, or its record of nonces is incomplete, so that the knock may be a replay",
		stampText(stamp), stampText(time.Unix(notBefore, 0)))
	return text, "a knock that is made now is accepted after that time; if it is far away, check both clocks, and: sallyportd check"
}

// explainAttempt puts into words what became of a complete attempt.
func (t *Trace) explainAttempt(l *admin.TraceLine, o sessions.Outcome, g sessions.Grant, err error) {
	from := access.AddressText(g.Address)
	switch o {
	case sessions.Opened:
		opened, others := t.cfg.Services(g)
		l.Services = opened
		switch {
		case len(opened) > 0:
			l.Text = fmt.Sprintf("the attempt is complete, and opens %s for %s", strings.Join(opened, ", "), from)
		default:
			l.Text = fmt.Sprintf("the attempt from %s is complete, and opens nothing", from)
		}
		if others != "" {
			l.Text += "; " + others
			l.Hint = "to change what the client may open: sallyportd client allow IDENTIFIER SERVICE"
		}
	case sessions.Failed:
		l.Text = fmt.Sprintf("the attempt from %s is complete, and the services could not be opened: %v", from, err)
		l.Hint = "the log has the cause"
	case sessions.Unrecorded:
		l.Text = fmt.Sprintf("the attempt from %s is complete, and opens nothing, because its nonces could not be recorded: %v", from, err)
		l.Hint = "repair the state directory, or the connection to etcd; the log has the cause"
	case sessions.UsedElsewhere:
		l.Text = fmt.Sprintf("the attempt from %s is complete, and opens nothing here: another gateway of the fleet has used its nonces", from)
		l.Hint = "the other gateway has opened what the client may open there; or another host sent these knocks to both"
	case sessions.Superseded:
		l.Text = fmt.Sprintf("a newer attempt, from %s, replaces one that was complete", from)
	case sessions.Closed:
		l.Text = fmt.Sprintf("a closing attempt from %s is complete: all leases of the client end", from)
	default:
		l.Text = o.String()
	}
}

// ended returns the last line, with the totals and, if nothing arrived, what that means.
func (t *Trace) ended() admin.TraceLine {
	l := admin.TraceLine{Time: t.cfg.Wall(), Event: admin.TraceEnded, Authenticated: true}
	t.mu.Lock()
	defer t.mu.Unlock()
	var authentic, others uint64
	for k := range numKinds {
		b := &t.budgets[k]
		if b.all == 0 {
			continue
		}
		if k.authenticated() {
			authentic += b.all
		} else {
			others += b.all
		}
		l.LeftOut += b.missing
		event, reason := k.names()
		l.Totals = append(l.Totals, admin.TraceTotal{Event: event, Reason: reason, Authenticated: k.authenticated(), Number: b.all})
	}
	switch {
	case authentic == 0 && others == 0:
		l.Text = "nothing arrived that names it"
		l.Hint = "if the client knocked meanwhile: the network or a firewall drops its packets, it sends them to another address, its clock is off by more than the trace listens for, " +
			"or port_secret, generator or ports of its profile differ, so that it sends them to other ports; " + sameProfile
	case authentic == 0:
		l.Text = fmt.Sprintf("nothing that arrived is authenticated; %s", events(others))
		l.Hint = "any host can have sent it; if the client knocked meanwhile, its secret differs; " + sameProfile
	default:
		l.Text = fmt.Sprintf("%s authenticated, %s not", events(authentic), events(others))
	}
	return t.finish(l)
}

func events(n uint64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}
