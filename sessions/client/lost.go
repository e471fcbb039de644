package client

import (
	"fmt"
	"net/netip"
	"strings"
)

// tally counts the exchanges with one address of the server.
type tally struct{ requested, challenged, opened int }

// count changes the tally of an address.
func (e *exchangeFindings) count(server netip.Addr, change func(*tally)) {
	if e.byAddress == nil {
		e.byAddress = map[netip.Addr]tally{}
	}
	t := e.byAddress[server]
	change(&t)
	e.byAddress[server] = t
}

// Lost counts the attempts of Exchange in which packets were lost on the way, as far as
// a client can know: it sent the same in another attempt, and was answered. A server
// that is flooded can drop an exchange, too.
type Lost struct {
	Requests  int // no challenge came: packets of the request, or the challenge, were lost
	Responses int // the service did not open: packets of the response were lost
}

// String returns a text about the attempts.
func (l Lost) String() string {
	var texts []string
	if l.Requests > 0 {
		texts = append(texts, fmt.Sprintf("%s received no challenge (packets of the request, or the challenge, were lost)", attempts(l.Requests)))
	}
	if l.Responses > 0 {
		texts = append(texts, fmt.Sprintf("%s received a challenge, and opened nothing (packets of the response were lost)", attempts(l.Responses)))
	}
	if len(texts) == 0 {
		return "no packets were lost"
	}
	return "packets were lost on the way: " + strings.Join(texts, ", and ")
}

func attempts(n int) string {
	if n == 1 {
		return "one attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

// lost returns the attempts in which packets to or from an address were lost. Without
// any challenge, the client cannot know.
func (e *exchangeFindings) lost(server netip.Addr) (l Lost) {
	t := e.byAddress[server]
	if t.challenged > 0 {
		l.Requests = t.requested - t.challenged
	}
	if t.opened > 0 {
		l.Responses = t.challenged - t.opened
	}
	return l
}
