package tracing

import (
	"fmt"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/verify"
	"sallyport/verify/schedule"
)

// sameProfile is what to do if a profile differs from the server's settings.
const sameProfile = "compare the profile of the device with: sallyportd client profile IDENTIFIER"

// explainRefused puts into words why a datagram was refused. If it is signed, what it
// contains is what the client, with its secret, has written.
func (t *Trace) explainRefused(l *admin.TraceLine, e verify.Explanation) {
	if e.Reason == verify.Malformed {
		l.Text = "a datagram names the client, and is no knock: its sequence ID or maximum is wrong"
		l.Hint = "any host can send it; a device of yours that sends it has another protocol, or a faulty client"
		return
	}
	off := knockOf(l, e.Knock, l.Time)
	if e.Client {
		l.Lowest, l.Highest = &e.Lowest, &e.Highest
	}
	if e.Signed == verify.Unsigned {
		t.explainForged(l, e, off)
		return
	}
	what := fmt.Sprintf("knock %d of %d", l.Knock, l.Of)
	if e.Closes {
		what = "closing " + what
	}
	if e.Signed == verify.Previous {
		what += ", signed with the secret from before the rotation,"
	}
	l.Text, l.Hint = t.whyRefused(e, off)
	l.Text = what + ": " + l.Text
}

// whyRefused explains a signed datagram.
func (t *Trace) whyRefused(e verify.Explanation, off time.Duration) (text, hint string) {
	far := off > t.cfg.Tolerance || off < -t.cfg.Tolerance
	switch {
	case e.Reason == verify.Expired:
		return fmt.Sprintf("the client has expired, at %s", stampText(t.cfg.Expired())), "to extend its time: sallyportd client expire IDENTIFIER WHEN"
	case e.Reason == verify.Maximum:
		return fmt.Sprintf("the client sends sequences of %d knocks, and this server expects %d", e.Knock.Maximum+1, e.Maximum+1),
			"ports of the profile differs from this server's; " + sameProfile
	case far && e.Reason != verify.MAC:
		return t.clockOff(off)
	case e.Reason == verify.Sequence && !e.Placed, e.Reason == verify.Minute:
		return fmt.Sprintf("wrong port for its minute: it is stamped %s, and arrived at a port that is not one of this minute", clockText(e.Knock.Timestamp)),
			"the client draws other ports than this server (port_secret or generator differ), or a translator on the way changes the ports; " + sameProfile
	case e.Reason == verify.Sequence:
		return fmt.Sprintf("wrong port: it arrived at the port of knock %d of minute %s", e.Place.Index+1, minuteText(e.Place.Minute)),
			"the client draws other ports than this server (port_secret or generator differ), or a translator on the way changes the ports; " + sameProfile
	case e.Reason == verify.BelowWindow:
		return fmt.Sprintf("its nonce %d is below the window: the lowest that is accepted is %d, the highest used is %d", e.Knock.Nonce, e.Lowest, e.Highest), behind
	case e.Reason == verify.NonceUnderflow:
		return fmt.Sprintf("its nonce %d is smaller than its sequence ID: no sequence begins below 0", e.Knock.Nonce), "the client is faulty"
	case e.Signed == verify.Ended:
		return "signed with the secret from before a rotation that is over", "the device has its old profile: send it the new one (sallyportd client profile IDENTIFIER)"
	case e.Closes && !e.Leased:
		return "it closes, and the client has no lease", "there is nothing to close, so the server ignores it"
	}
	return "refused (" + e.Reason.String() + "), and accepted by now", "the server has just changed its settings; the client tries again by itself"
}

// behind is the hint for nonces that are used.
const behind = "the network delivered it twice, or another host sends it again; or else another device uses the same profile, or the device's record of nonces was lost or restored: " +
	"the client moves ahead by itself after some attempts. Each device needs its own client"

// clockOff explains a stamp that is too far from the server's clock.
func (t *Trace) clockOff(off time.Duration) (text, hint string) {
	direction := "ahead of"
	if off < 0 {
		off, direction = -off, "behind"
	}
	text = fmt.Sprintf("the client's clock is %s %s this server's; at most %s is accepted", off, direction, t.cfg.Tolerance)
	hint = "set the client's clock"
	if off >= 30*time.Minute && (off+5*time.Minute)%(30*time.Minute) <= 10*time.Minute {
		hint += ": it is off by about whole or half hours, so it probably has the time of another time zone"
	}
	if why := t.cfg.Synchronised(); why != "" {
		hint += "; or this server's: " + why
	}
	if direction == "behind" {
		hint += ". Or another host sends an old knock again"
	}
	return text, hint
}

// explainForged puts into words what an unsigned datagram shows, which any host can have
// sent.
func (t *Trace) explainForged(l *admin.TraceLine, e verify.Explanation, off time.Duration) {
	switch {
	case !e.Client:
		l.Text = "no client of the running server has this identifier"
		l.Hint = "\"sallyportd client list\" prints the clients; the profile may be of another server, or of a client that was revoked"
	case e.Reason == verify.MAC:
		l.Text = fmt.Sprintf("knock %d of %d with a wrong MAC: it is not signed with the client's secret", l.Knock, l.Of)
		l.Hint = "if it comes from the client's address, its secret differs; " + sameProfile + ". Otherwise any host can have sent it"
	default:
		l.Text = fmt.Sprintf("a datagram that is not signed with the client's secret (%s): it claims to be knock %d of %d, stamped %s, nonce %d",
			e.Reason, l.Knock, l.Of, clockText(e.Knock.Timestamp), e.Knock.Nonce)
		if off > t.cfg.Tolerance || off < -t.cfg.Tolerance {
			l.Text += fmt.Sprintf(", which is %s from this server's clock", off)
		}
		l.Hint = "if it comes from the client's address, its secret differs, and perhaps more; " + sameProfile + ". Otherwise any host can have sent it"
	}
}

// explainUnchecked is about datagrams that a busy server does not check.
func explainUnchecked(l *admin.TraceLine, r verify.Reason) {
	l.Text = fmt.Sprintf("refused (%s), and not checked who has signed it: too many datagrams arrive", r)
	l.Hint = "a flood of datagrams names the client; trace again when it is over, or believe the lines of signed datagrams only"
}

// clockText is a stamp as people read it, in UTC.
func clockText(stamp uint32) string { return stampText(time.Unix(int64(stamp), 0)) }

func stampText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func minuteText(m schedule.Minute) string { return m.Start().UTC().Format("15:04 UTC") }
