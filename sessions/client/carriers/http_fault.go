package carriers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
)

// unanswered returns the fault of a request without an answer, or the error of ctx.
func (h *HTTP) unanswered(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var known *Fault // of the proxy
	if errors.As(err, &known) {
		return known
	}
	var request *url.Error // its text has the URL, and so a message
	if errors.As(err, &request) {
		err = request.Err
	}
	f := &Fault{Cause: Unreachable, By: h.url.Host, Err: err}
	if h.proxy != nil {
		f.By = h.proxy.Host
	}
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var host x509.HostnameError
	var plain tls.RecordHeaderError
	var network net.Error
	switch {
	case errors.As(err, &certificate) || errors.As(err, &host):
		f.Cause, f.By = Certificate, h.url.Host
	case errors.As(err, &plain):
		f.Cause, f.By = NotTLS, h.url.Host
	case errors.As(err, &name):
		f.Cause = NoName
	case errors.As(err, &network) && network.Timeout() || errors.Is(err, context.DeadlineExceeded):
		f.Cause = TimedOut
	}
	return f
}
