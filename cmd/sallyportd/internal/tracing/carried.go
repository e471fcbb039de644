package tracing

import (
	"fmt"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/handshakes/carried"
)

// floods is the hint if there is no room for a request.
const floods = "another host floods the server with requests; the client tries again by itself"

// explainCarried puts into words what became of a request over HTTP or DNS, or of a
// response that is not right. Requests need no secret.
func (t *Trace) explainCarried(l *admin.TraceLine, e carried.Event) {
	from := "for a connection"
	if l.Source.IsValid() {
		from = "from " + access.AddressText(l.Source)
	}
	what := fmt.Sprintf("operation %s, %s, over HTTP or DNS: ", l.Operation, from)
	l.Text, l.Hint = t.whyCarried(what, e, l)
}

func (t *Trace) whyCarried(what string, e carried.Event, l *admin.TraceLine) (text, hint string) {
	profile := "compare the profile of the device with: sallyportd operation profile " + l.Operation
	switch e {
	case carried.NoOperation:
		return "a request arrived over HTTP or DNS that names no operation of this server; any host can send it",
			"if it is the client's, its profile has another ID, or is of another server; or, with hop, its clock is wrong: sallyportd operation list"
	case carried.NoExchange:
		return "a response arrived over HTTP or DNS, and no exchange waits for it: its challenge has expired, or was another server's",
			"if it is the client's, it took longer than 30 seconds, or several servers have one name: it tries again by itself"
	case carried.OtherAddress:
		return what + "a request arrived that is for another family of addresses than the connection, or for one of which the server has no public_address",
			"set public_address of [challenge]; behind a reverse proxy, proxies of [[challenge.http]]"
	case carried.NotAllowed:
		return what + "a request arrived, and gets no answer: " + t.cfg.NotAllowed(l.Operation, l.Source), ""
	case carried.NotValid:
		return what + "a request arrived, and gets no answer: it is malformed, or the operation was just changed",
			"the client tries again by itself; if that does not help, " + profile
	}
	o, _ := e.Outcome()
	switch o {
	case carried.Answered:
		return what + "a request arrived, and the challenge was sent", ""
	case carried.Repeated:
		return what + "the same request arrived again, and the same challenge was sent",
			"if no response follows, an answer is lost on the way, or a proxy or a resolver changes it"
	case carried.Conflicting:
		return what + "a request arrived with the number of another exchange, and gets no answer",
			"a proxy or a resolver sends the client's messages from several addresses; the client tries again by itself"
	case carried.RateLimited:
		return what + "a request arrived, and gets no answer: too many requests a second", floods
	case carried.Failed:
		return what + "a request arrived, and the challenge could not be made: no port is free", ""
	case carried.Refused:
		return what + "the response is wrong: the exchange is over",
			"the secret of the client differs (" + profile + "), or another host sent the response"
	case carried.Evicted:
		return what + "the exchange gave way to newer ones before its response arrived", floods
	case carried.Expired:
		return what + "the challenge has expired: no response arrived within 30 seconds",
			"the client did not get the answer, or did not believe it: the secret or the host key of its profile differs (" + profile + "); or a proxy or a resolver changes answers"
	}
	return what + o.String(), ""
}
