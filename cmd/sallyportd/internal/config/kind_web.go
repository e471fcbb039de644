package config

import (
	"crypto/x509"
	"fmt"
	"net/http"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate"
)

// rawWeb has the keys of a web server.
type rawWeb struct {
	Root    string `toml:"root" kinds:"web" reload:"live" expect:"the path of a directory"`
	TLSCert string `toml:"tls_cert" kinds:"web" reload:"live" expect:"the path of a PEM file with a certificate and its chain, together with tls_key"`
	TLSKey  string `toml:"tls_key" kinds:"web" reload:"live" expect:"the path of a PEM file with the certificate's key, together with tls_cert"`
}

// web is a web server in this process.
type web struct {
	listener
	root      string // empty: the test pages
	cert, key string // empty: no TLS
}

func readWeb(r *rawService, f *tomlfile.File, at, dir string, s *Service) (kind, error) {
	if s.UDP {
		return nil, f.Errorf(at+"protocol", "got %q", r.Protocol)
	}
	if f.Has(at+"root") && r.Root == "" {
		return nil, f.Errorf(at+"root", "got nothing")
	}
	if (r.TLSCert == "") != (r.TLSKey == "") {
		missing := at + "tls_key"
		if r.TLSCert == "" {
			missing = at + "tls_cert"
		}
		return nil, f.Errorf(missing, "got one without the other")
	}
	return web{root: resolve(dir, r.Root), cert: resolveSecret(dir, r.TLSCert), key: resolveSecret(dir, r.TLSKey)}, nil
}

func (w web) describe(*Service) string {
	what := "web server with test pages"
	if w.root != "" {
		what = "web server with " + w.root
	}
	if w.cert != "" {
		what += ", TLS"
	}
	return what
}

func (web) upstream() string { return "" }

// fixed: a listener is created with or without TLS.
func (w web) fixed() (key, value string) {
	return "the use of TLS", fmt.Sprint(w.cert != "")
}

func (w web) missing() fault {
	if f := directoryFault("root", w.root, ""); f.key != "" {
		return f
	}
	return pairFault(w.cert, w.key)
}

func (w web) live(s *Service, env Env) (l Live, err error) {
	c, err := w.content(s)
	if err != nil {
		return l, err
	}
	server := gate.NewWeb(c, env.Log)
	if l, err = w.listen(s, server, env); err != nil {
		return l, err
	}
	l.Load = func(next *Service) (func(), error) {
		c, err := next.kind.(web).content(next)
		return func() { server.Update(c) }, err
	}
	return l, nil
}

// content returns what the web server serves.
func (w web) content(s *Service) (c gate.Content, err error) {
	var h http.Handler = gate.Pages()
	if w.root != "" {
		h, err = gate.Directory(w.root)
	}
	if err == nil && w.cert != "" {
		c.Certificate, err = gate.Certificate(w.cert, w.key)
	}
	if err != nil {
		return c, unreadable(fmt.Errorf("service %s: %w", s.Name, err))
	}
	c.Handler = h
	return c, nil
}

func (w web) scheme() string {
	if w.cert != "" {
		return "https"
	}
	return "http"
}

// certificate returns the chain of the server; nil: it has none, or it cannot be
// read.
func (w web) certificate() (file string, chain []*x509.Certificate) {
	if w.cert == "" {
		return "", nil
	}
	c, err := gate.Certificate(w.cert, w.key)
	if err != nil {
		return w.cert, nil
	}
	for _, der := range c.Certificate {
		if x, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, x)
		}
	}
	return w.cert, chain
}
