package tracing

import (
	"fmt"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/handshakes"
)

// explainExchange puts into words what became of a request, or of a response that is not
// right. Requests need no secret.
func (t *Trace) explainExchange(l *admin.TraceLine, o handshakes.Outcome) {
	what := fmt.Sprintf("operation %s, from %s: ", l.Operation, access.AddressText(l.Source))
	switch o {
	case handshakes.Answered:
		l.Text = what + "a request arrived, and the challenge was sent"
	case handshakes.Unmatched:
		l.Text = what + "a request arrived, and gets no answer: " + t.cfg.NotAllowed(l.Operation, l.Source)
	case handshakes.RateLimited:
		l.Text = what + "a request arrived, and gets no answer: too many requests a second"
		l.Hint = "another host floods the server with requests; the client tries again by itself"
	case handshakes.SendFailed:
		l.Text = what + "a request arrived, and the challenge could not be sent"
		l.Hint = "the log and the counters have the cause"
	case handshakes.NoSlot:
		l.Text = what + "a request arrived, and found no room"
		l.Hint = "another host floods the server with requests; the client tries again by itself"
	case handshakes.Elsewhere:
		l.Text = what + "a request arrived of which another gateway has received packets: that one answers"
	case handshakes.Refused:
		l.Text = what + "a packet of the response is not the expected one: the exchange is over"
		l.Hint = "the secret of the client differs (compare with: sallyportd operation profile " + l.Operation + "), a translator changes addresses (see the algorithms), the network changes the order of packets, or another host sent the packet"
	case handshakes.ResponseIncomplete:
		l.Text = what + "a part of the response arrived, and is right; the rest is missing"
		l.Hint = "the network loses packets, or a firewall on the way drops some of the ports; the client tries again by itself"
	default:
		l.Text = what + o.String()
	}
}

// explainProof puts into words what became of an exchange whose response is right.
func explainProof(l *admin.TraceLine, p Proof, err error) {
	from := "any address"
	if l.Source.IsValid() {
		from = access.AddressText(l.Source)
	}
	what := fmt.Sprintf("operation %s, for %s: ", l.Operation, from)
	switch p {
	case Verified:
		l.Text = what + "the response is right"
	case Executed:
		l.Text = what + "executed"
	case Refused:
		l.Text = what + fmt.Sprintf("not executed: %v", err)
		l.Hint = "the log has the cause"
	case Limited:
		l.Text = what + "not executed: the client has used operations too often lately"
		l.Hint = "it gets in again after some seconds without a request"
	case Superseded:
		l.Text = what + "replaces an exchange of the client that was not executed yet"
	case Tunnelled:
		l.Text = what + "a tunnel through the listener for HTTP carries a connection to the service"
	case Lost:
		l.Text = what + "not executed: too many exchanges of the operation wait"
		l.Hint = "the firewall or the state directory is too slow; the log has the cause"
	}
}
