package carriers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
)

// unconnected is unanswered, for a request that may have found no connection. Then the
// endpoint needs no other request.
func (h *HTTP) unconnected(ctx context.Context, w messageWay, err error) error {
	err = h.unanswered(ctx, err)
	var dial *net.OpError
	var f *Fault
	if !errors.As(err, &f) || ctx.Err() != nil {
		return err
	}
	switch f.Cause {
	case NoName, NotTLS, TLSRefused, Certificate, ProxyLogin, ProxyRefuses, ProxyTLS, Gateway:
		w.dead.Store(f)
	case Unreachable, TimedOut:
		if errors.As(f.Err, &dial) && dial.Op == "dial" {
			w.dead.Store(f)
		}
	}
	return err
}

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
	var proxy *net.OpError
	isTLS := errors.As(err, &certificate) || errors.As(err, &host) || errors.As(err, &plain) || endedByTLS(err)
	switch {
	case isTLS && errors.As(err, &proxy) && proxy.Op == "proxyconnect":
		f.Cause = ProxyTLS
	case errors.As(err, &certificate) || errors.As(err, &host):
		f.Cause, f.By = Certificate, h.url.Host
	case errors.As(err, &plain):
		f.Cause, f.By = NotTLS, h.url.Host
	case isTLS:
		f.Cause, f.By = TLSRefused, h.url.Host
	case errors.As(err, &name):
		f.Cause = NoName
	case errors.As(err, &network) && network.Timeout() || errors.Is(err, context.DeadlineExceeded):
		f.Cause = TimedOut
	}
	return f
}

// endedByTLS reports whether an error is one of the protocol of TLS, such as an alert of
// the other end. Package crypto/tls does not export their types, only this prefix.
func endedByTLS(err error) bool {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return strings.HasPrefix(err.Error(), "tls: ")
}
