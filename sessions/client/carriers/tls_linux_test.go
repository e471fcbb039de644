package carriers

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestTLSOfProxy: a proxy of https:// whose TLS fails is not a fault of the server.
func TestTLSOfProxy(t *testing.T) {
	t.Parallel()
	quiet := log.New(io.Discard, "", 0)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	plain.Config.ErrorLog = quiet
	unknown := httptest.NewUnstartedServer(http.NotFoundHandler())
	unknown.Config.ErrorLog = quiet
	unknown.StartTLS()
	defer unknown.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			c.Close()
		}
	}))
	defer silent.Close()
	for _, row := range []struct {
		proxy *httptest.Server
		want  Cause
	}{{plain, ProxyTLS}, {unknown, ProxyTLS}, {silent, Unreachable}} {
		at := row.proxy.Listener.Addr().String()
		scheme := "https://"
		if row.proxy == silent {
			scheme = "http://"
		}
		h, err := NewHTTP(HTTPConfig{URL: "https://www.example.org", Roots: x509.NewCertPool(), Proxy: func(*url.URL) (*url.URL, error) {
			return url.Parse(scheme + "user:hunter2@" + at)
		}})
		if err != nil {
			t.Fatal(err)
		}
		err = h.Request(t.Context(), testMessage(t), never)
		var f *Fault
		if !errors.As(err, &f) || f.Cause != row.want || f.By != at || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %+v", scheme, err, f)
		}
		h.Close()
	}
}

// TestTLSIsRefused: a server that ends the handshake has answered.
func TestTLSIsRefused(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]*tls.Config{
		"an old version":     {MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
		"client certificate": {ClientAuth: tls.RequireAnyClientCert},
		"and in TLS 1.2":     {ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12},
	} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog, s.TLS = log.New(io.Discard, "", 0), cfg
		s.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		h, err := NewHTTP(HTTPConfig{URL: s.URL, Roots: roots, Proxy: noProxy})
		if err != nil {
			t.Fatal(err)
		}
		err = h.Request(t.Context(), testMessage(t), never)
		var f *Fault
		if !errors.As(err, &f) || f.Cause != TLSRefused || f.Cause.Silent() {
			t.Errorf("%s: %v, %+v", name, err, f)
		}
		h.Close()
		s.Close()
	}
}
