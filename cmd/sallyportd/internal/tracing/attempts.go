package tracing

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions"
	"sallyport/verify"
)

// incompleteAfter is how long after its last knock an attempt counts as incomplete. The
// client sends all within a fraction of a second.
const incompleteAfter = 2 * time.Second

// maxParts is how many attempts a trace follows at a time: a slot holds four.
const maxParts = 8

// part is an attempt of which knocks have arrived.
type part struct {
	secret  verify.Fingerprint
	base    uint32
	maximum int8
	source  netip.Addr // of the first knock
	last    time.Time  // when one arrived; zero: the part is free
	arrived [2]uint64  // a bit for each knock
	failed  bool       // a line shows already why it opens nothing
}

// attempts are the latest ones of the client. Only authenticated knocks get here.
type attempts [maxParts]part

// add adds a knock to its attempt. A complete one is removed.
func (a *attempts) add(d sessions.Decision, now time.Time) {
	k := &d.Knock
	p, oldest := (*part)(nil), &a[0]
	for i := range a {
		switch {
		case !a[i].last.IsZero() && a[i].secret == k.Secret() && a[i].base == k.Base():
			p = &a[i]
		case a[i].last.Before(oldest.last):
			oldest = &a[i]
		}
	}
	switch d.Outcome {
	case sessions.Recorded:
	case sessions.OtherSource, sessions.OtherMinute, sessions.OtherPurpose:
		if p != nil {
			p.failed = true // the line of this knock shows why
		}
		return
	case sessions.Opened, sessions.RateLimited:
		if p != nil {
			*p = part{}
		}
		return
	default:
		return
	}
	if p == nil {
		p = oldest
		*p = part{secret: k.Secret(), base: k.Base(), maximum: k.Maximum(), source: d.First}
	}
	p.last = now
	p.arrived[k.Sequence()/64] |= 1 << (k.Sequence() % 64)
}

// overdue removes and returns the attempts that stay incomplete.
func (a *attempts) overdue(now time.Time) (list []part) {
	for i := range a {
		if a[i].last.IsZero() || now.Sub(a[i].last) < incompleteAfter {
			continue
		}
		if !a[i].failed {
			list = append(list, a[i])
		}
		a[i] = part{}
	}
	return list
}

// explainIncomplete names the knocks that have not arrived.
func explainIncomplete(l *admin.TraceLine, p part) {
	var missing []string
	n := 0
	for i := range int(p.maximum) + 1 {
		if p.arrived[i/64]>>(i%64)&1 != 0 {
			n++
		} else if len(missing) < 8 {
			missing = append(missing, fmt.Sprint(i+1))
		}
	}
	l.Of, l.Nonce = int(p.maximum)+1, &p.base
	l.Text = fmt.Sprintf("%d of %d knocks of an attempt arrived and are right; missing: %s", n, l.Of, strings.Join(missing, ", "))
	if l.Of-n > len(missing) {
		l.Text += ", …"
	}
	l.Hint = "the network loses packets, or a firewall on the way drops UDP to some of the ports " + portRange + "; the client tries again by itself"
}

// portRange are the ports that knocks may go to.
const portRange = "1025 to 65535"
