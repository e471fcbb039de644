package carriers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"sallyport/verify/challenge/carrier"
)

// Request sends a request, and returns when a challenge was accepted. The error is a
// *Fault, or that of ctx.
func (h *HTTP) Request(ctx context.Context, m *carrier.Message, accept Accept) error {
	ways := make([]way, len(h.ways))
	for i, w := range h.ways {
		ways[i] = func(ctx context.Context, offer Accept) error { return h.send(ctx, w, m, offer) }
	}
	won, err := race(ctx, h.cfg.Pause, ways, accept)
	if err == nil {
		h.worked.Store(int32(won))
	}
	return err
}

// Respond sends a response, by the way of the challenge, and by the others if something in
// front of the server refuses it, or gives no answer. The answer to it has no meaning. A
// response may be sent again: the server takes it once.
func (h *HTTP) Respond(ctx context.Context, m *carrier.Message) error {
	var ways []way
	for i := range h.ways {
		w := h.ways[(int(h.worked.Load())+i)%len(h.ways)]
		ways = append(ways, func(ctx context.Context, _ Accept) error {
			err := h.send(ctx, w, m, func([]byte) bool { return true })
			var fault *Fault
			if errors.As(err, &fault) && (fault.Cause == OtherPage || fault.Cause == Redirected) {
				return nil // the site's own answer
			}
			return err
		})
	}
	_, err := race(ctx, h.cfg.Pause, ways, func([]byte) bool { return true })
	if fault := (*Fault)(nil); errors.As(err, &fault) && fault.Cause == Refused {
		return nil // the site may refuse strangers so
	}
	return err
}

// refusing are the statuses with which proxies and filters refuse POST requests, or their
// bodies.
var refusing = []int{
	http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusLengthRequired,
	http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusNotImplemented,
}

func (h *HTTP) post(ctx context.Context, m *carrier.Message) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.String(), bytes.NewReader(m.AppendForm(nil)))
	if err == nil {
		r.Header.Set("Content-Type", carrier.FormType)
	}
	return r, err
}

// get returns a request with all parts of a message. The path is that of the protocol,
// whatever the URL's is.
func (h *HTTP) get(ctx context.Context, m *carrier.Message) (*http.Request, error) {
	u := *h.url
	u.Path = string(m.AppendPath(nil, 0, m.Numbers()))
	return http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
}

// send sends a message by one way. It returns nil if the answer was accepted.
func (h *HTTP) send(ctx context.Context, w messageWay, m *carrier.Message, offer Accept) error {
	if fault := w.dead.Load(); fault != nil {
		return fault
	}
	r, err := w.form(ctx, m)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", Agent)
	r.Header.Set("Accept", "text/html")
	answer, err := w.client.Do(r)
	if err != nil {
		return h.unconnected(ctx, w, err)
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(io.LimitReader(answer.Body, int64(carrier.MaxPage)+1))
	if err != nil {
		return h.unanswered(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		if challenge, reason := carrier.ParsePage(nil, page); reason == carrier.Accepted {
			if offer(challenge) {
				return nil
			}
			return &Fault{Cause: Forged, By: h.url.Host, Status: answer.StatusCode}
		}
	}
	return h.other(answer)
}

// other returns the fault of an answer that is no challenge.
func (h *HTTP) other(answer *http.Response) error {
	f := &Fault{Cause: OtherPage, By: h.url.Host, Status: answer.StatusCode}
	switch code := answer.StatusCode; {
	case code == http.StatusProxyAuthRequired:
		f.Cause = ProxyLogin
		if h.proxy != nil {
			f.By = h.proxy.Host
		}
	case code == http.StatusNetworkAuthenticationRequired:
		f.Cause = Portal
	case code >= 300 && code < 400 && code != http.StatusNotModified:
		f.Cause = Redirected
		if h.url.Scheme == "http" {
			f.Cause = Portal
		}
	case code == http.StatusTooManyRequests:
		f.Cause = Busy
	case isGateway(code):
		f.Cause = Gateway
	case slices.Contains(refusing, code):
		f.Cause = Refused
	}
	return f
}

func isGateway(code int) bool {
	return code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
}
