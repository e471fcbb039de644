package gate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"sallyport/sessions/durable"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
)

// Content is the content that a Web serves.
type Content struct {
	Handler     http.Handler     // see Pages and Directory
	Certificate *tls.Certificate // nil: without TLS
}

// Web is a web server. It implements Handler.
type Web struct {
	log     *slog.Logger
	content atomic.Pointer[Content]
	server  *http.Server // of all listeners; it changes its TLSConfig
	secure  bool         // with TLS
}

// NewWeb returns a web server. It does not log the errors of clients: they choose
// the text of those lines.
func NewWeb(c Content, log *slog.Logger) *Web {
	w := &Web{log: log, secure: c.Certificate != nil}
	w.Update(c)
	w.server = &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.content.Load().Handler.ServeHTTP(rw, r)
		}),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	if w.secure {
		w.server.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return w.content.Load().Certificate, nil
		}}
	}
	return w
}

// Update changes the content for later requests, and the certificate for later
// connections. It cannot turn TLS on or off.
func (w *Web) Update(c Content) { w.content.Store(&c) }

// Serve implements Handler.
func (w *Web) Serve(l net.Listener) error {
	if !w.secure {
		return w.server.Serve(l)
	}
	return w.server.ServeTLS(l, "", "")
}

// Certificate reads a certificate chain and its key from PEM files.
func Certificate(certFile, keyFile string) (*tls.Certificate, error) {
	certificate, err := durable.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate and its key: %w", err)
	}
	key, err := durable.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate and its key: %w", err)
	}
	c, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate and its key: %w", err)
	}
	return &c, nil
}
