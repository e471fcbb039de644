package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// tlsConfig returns the configuration for connections to members; nil: none of them
// uses TLS. The gateway's certificate is read for each connection, so that a renewed one
// counts without a restart; for those of etcd's authority, see trust.
func (c Config) tlsConfig() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if t.RootCAs, err = c.roots(); err != nil {
		return nil, err
	}
	if c.Certificate != "" {
		if _, err := c.LoadCertificate(); err != nil {
			return nil, err
		}
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.LoadCertificate()
		}
	}
	return t, nil
}

// roots reads the certificates that sign those of the members; nil: the system's.
func (c Config) roots() (*x509.CertPool, error) {
	if c.CA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("read the certificates of etcd's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s contains no certificate", c.CA)
	}
	return pool, nil
}

// trust is TLS for which the certificates of etcd's authority are read again for each
// connection. If they cannot be read, the member is not connected.
type trust struct {
	credentials.TransportCredentials
	config *tls.Config
	roots  func() (*x509.CertPool, error)
}

func newTrust(t *tls.Config, roots func() (*x509.CertPool, error)) *trust {
	return &trust{credentials.NewTLS(t), t, roots}
}

// ClientHandshake implements credentials.TransportCredentials.
func (t *trust) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	roots, err := t.roots()
	if err != nil {
		return nil, nil, err
	}
	now := t.config.Clone()
	now.RootCAs = roots
	return credentials.NewTLS(now).ClientHandshake(ctx, authority, c)
}

// Clone implements credentials.TransportCredentials.
func (t *trust) Clone() credentials.TransportCredentials {
	return newTrust(t.config.Clone(), t.roots)
}

// LoadCertificate reads the certificate of the gateway, and its key.
func (c Config) LoadCertificate() (*tls.Certificate, error) {
	if c.Certificate == "" {
		return nil, errors.New("no certificate is configured")
	}
	cert, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("load the gateway's certificate: %w", err)
	}
	return &cert, nil
}
