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

// Request sends a request, and returns the challenge. The error is a *Fault, or that of
// ctx.
func (h *HTTP) Request(ctx context.Context, m *carrier.Message) (challenge []byte, err error) {
	challenge, err = h.send(ctx, m, h.post)
	if refusesPost(err) {
		challenge, err = h.send(ctx, m, h.get)
	}
	return challenge, err
}

// Respond sends a response. The answer to it has no meaning, unless something in front of
// the server refuses the request: then Respond returns an error. A response whose answer
// was lost may be sent again: the server takes it once.
func (h *HTTP) Respond(ctx context.Context, m *carrier.Message) error {
	_, err := h.send(ctx, m, h.post)
	if refusesPost(err) || lost(err) {
		_, err = h.send(ctx, m, h.get)
	}
	var fault *Fault
	if errors.As(err, &fault) && (fault.Cause == OtherPage || fault.Cause == Redirected || fault.Cause == Refused) {
		return nil // the site's own answer
	}
	return err
}

// refusing are the statuses with which proxies and filters refuse POST requests, or their
// bodies.
var refusing = []int{
	http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusLengthRequired,
	http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusNotImplemented,
}

func refusesPost(err error) bool {
	var fault *Fault
	return errors.As(err, &fault) && fault.Cause == Refused
}

// lost reports whether a connection has ended without an answer.
func lost(err error) bool {
	var fault *Fault
	return errors.As(err, &fault) && (fault.Cause == Unreachable || fault.Cause == TimedOut) && fault.Status == 0
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

// send sends a message, and returns the challenge.
func (h *HTTP) send(
	ctx context.Context, m *carrier.Message, form func(context.Context, *carrier.Message) (*http.Request, error),
) ([]byte, error) {
	r, err := form(ctx, m)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", Agent)
	r.Header.Set("Accept", "text/html")
	answer, err := h.client.Do(r)
	if err != nil {
		return nil, h.unanswered(ctx, err)
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(io.LimitReader(answer.Body, int64(carrier.MaxPage)+1))
	if err != nil {
		return nil, h.unanswered(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		if challenge, reason := carrier.ParsePage(nil, page); reason == carrier.Accepted {
			return challenge, nil
		}
	}
	return nil, h.other(answer)
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
	case code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout:
		f.Cause = Gateway
	case slices.Contains(refusing, code):
		f.Cause = Refused
	}
	return f
}
