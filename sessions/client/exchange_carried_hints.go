package client

import (
	"crypto/x509"
	"errors"
	"strconv"

	"sallyport/sessions/client/carriers"
)

// diagnoseFault explains that a request by HTTP or DNS drew no challenge.
func (e *exchangeFindings) diagnoseFault(d *diagnosis, cfg ExchangeConfig) {
	f, id := e.fault, cfg.Challenge.Operation.ID()
	seen := f.Error()
	if f.Status != 0 && f.Cause != carriers.OtherPage {
		seen = f.By + " answered with the status " + strconv.Itoa(f.Status)
	}
	d.see("%s", seen)
	switch f.Cause {
	case carriers.NoResolver, carriers.ResolverFails:
		d.reason = ReasonNoResolver
		d.conclude("this network does not resolve names, or the servers of the zone %s do not run", cfg.Challenge.DNS)
		d.conclude("the zone %s is not delegated to the server", cfg.Challenge.DNS)
	case carriers.NoRecord:
		d.reason = ReasonNoChallenge
		d.conclude("the server does not have operation %q, or not with this algorithm, or no use of it is left; or the zone %s is not delegated to it; or it has sent too many challenges", id, cfg.Challenge.DNS)
		d.conclude("the resolver of this network drops queries of this kind, or answers in the server's place")
		cfg.explainClock(d)
	case carriers.Rewritten:
		d.reason = ReasonRewritten
		d.conclude("this network answers in the server's place, as networks do before a login, or that rewrite answers for names that do not exist")
		d.advise("log in to the network by a browser, or use another resolver")
	case carriers.NoName:
		d.reason = ReasonNoAddress
		d.conclude("the name of %s has no address, or this computer cannot resolve names", f.By)
	case carriers.Unreachable, carriers.TimedOut:
		d.reason = ReasonUnreachable
		d.conclude("%s does not run, or this network does not let HTTPS out", f.By)
		d.advise("open %s in a browser on this network: if it opens only through a proxy, set HTTPS_PROXY", cfg.Challenge.HTTPS)
	case carriers.NotTLS:
		d.reason = ReasonCaptivePortal
		d.conclude("this network answers in the server's place, as networks do before a login; or the port of the URL is not one of HTTPS")
		d.advise("log in to the network by a browser, and try again")
	case carriers.TLSRefused:
		d.reason = ReasonProxy
		d.conclude("%s, or a filter of this network in its place, refuses this client: it requires another version of TLS, or a client certificate, or does not serve this name", f.By)
	case carriers.Certificate:
		e.diagnoseCertificate(d, f)
	case carriers.ProxyLogin:
		d.reason = ReasonProxy
		d.conclude("the proxy %s requires a user and a password", f.By)
		d.advise("set HTTPS_PROXY=http://USER:PASSWORD@%s, if the proxy's policy permits that", f.By)
	case carriers.ProxyRefuses:
		d.reason = ReasonProxy
		d.conclude("the proxy %s does not permit connections to %s", f.By, cfg.Challenge.HTTPS)
	case carriers.ProxyTLS:
		d.reason = ReasonProxy
		d.conclude("the setting of the proxy begins with https://, and %s takes no TLS, or this computer does not trust its certificate", f.By)
		d.advise("most proxies take http:// in HTTPS_PROXY, also for sites of https://")
	case carriers.Portal, carriers.Redirected:
		d.reason = ReasonCaptivePortal
		d.conclude("this network requires a login; or the site is at another URL than %s", cfg.Challenge.HTTPS)
		d.advise("open %s in a browser, log in to the network if it asks for that, and try again", cfg.Challenge.HTTPS)
	case carriers.Refused:
		d.reason = ReasonProxy
		d.conclude("a proxy, or the site itself, refuses these requests")
		d.conclude("the server does not have operation %q, or not with this algorithm, or no use of it is left; or it does not run behind this site", id)
	case carriers.Busy:
		d.reason = ReasonBusy
		d.conclude("the site, or a proxy in front of it, limits requests: try again later")
	case carriers.Gateway:
		d.reason = ReasonGateway
		d.conclude("a proxy in front of the server runs, and the server behind it does not")
	default:
		e.diagnoseOther(d, cfg)
	}
}

// diagnoseOther explains an answer that is no challenge, or none.
func (e *exchangeFindings) diagnoseOther(d *diagnosis, cfg ExchangeConfig) {
	id := cfg.Challenge.Operation.ID()
	d.reason = ReasonNoChallenge
	d.conclude("the server does not have operation %q, or not with this algorithm, or no use of it is left; or it does not run behind %s; or it has sent too many challenges", id, cfg.Challenge.HTTPS)
	d.conclude("this network, or a cache in front of the site, answers in the server's place")
	cfg.explainClock(d)
}

// diagnoseCertificate explains a certificate that is not valid.
func (e *exchangeFindings) diagnoseCertificate(d *diagnosis, f *carriers.Fault) {
	d.reason = ReasonCertificate
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(f.Err, &invalid) && invalid.Reason == x509.Expired:
		d.conclude("the certificate of %s has expired, or this computer's clock is wrong", f.By)
	case errors.As(f.Err, &unknown):
		d.conclude("this network reads encrypted connections, and has its certificates for that, or requires a login: nothing was sent to it")
		d.conclude("the certificate of %s is not from an authority that this computer trusts", f.By)
	default:
		d.conclude("another host answers in the place of %s: a network that requires a login, or one that reads encrypted connections", f.By)
	}
	d.advise("log in to the network by a browser, or use another network; the client does not send to a host that it cannot verify")
}

// diagnoseCarried explains that the service did not open after an exchange by HTTP or DNS.
func (e *exchangeFindings) diagnoseCarried(d *diagnosis, cfg ExchangeConfig) {
	if e.fault != nil {
		d.see("%s", e.fault)
	}
	if e.tunnel != nil {
		d.see("the web server did not open the tunnel: %v", e.tunnel)
	}
	proxied, blocked := "only bind = \"connection\" or a tunnel helps; ask the administrator", "a tunnel through the web server helps; ask the administrator"
	if cfg.Challenge.Tunnel {
		proxied = "connect, run and forward with --carrier https get in, through the web server"
		blocked = proxied
	}
	if e.public.IsValid() {
		d.see("the server has seen this computer as %s", e.public)
		d.conclude("the requests go through a proxy, which the server has let in in this computer's place: then %s", proxied)
	}
	if e.at.IsValid() {
		d.conclude("this network does not let connections to port %d out: %s", e.at.Port(), blocked)
	}
	if cfg.Challenge.Operation.Signed() {
		d.conclude("the response was lost")
		d.conclude(keyRemoved)
	} else {
		d.conclude("the response was lost, or the secret differs from the server's")
	}
	d.conclude("the program behind the service does not run")
}
