package etcdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Files are the paths of PEM files.
type Files struct{ Authority, Certificate, Key string }

// authority issues the certificates of a cluster.
type authority struct {
	directory, file string
	addresses       []net.IP // of the members
	certificate     *x509.Certificate
	key             *ecdsa.PrivateKey
	issued          int64
}

// Files returns a client's files, with a new certificate for a name. Without TLS, the
// test fails.
func (c *Cluster) Files(t testing.TB, name string) Files {
	t.Helper()
	if c.authority == nil {
		t.Fatal("the members have no TLS")
	}
	return c.authority.issue(t, name)
}

func newAuthority(t testing.TB, directory string, addresses []net.IP) *authority {
	t.Helper()
	a := &authority{directory: directory, addresses: append(addresses, net.IPv4(127, 0, 0, 1)), file: filepath.Join(directory, "ca.pem"), key: newKey(t)}
	a.certificate = &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.sign(t, a.certificate, a.key, "authority", a.file)
	return a
}

// issue writes a certificate and its key. etcd 3.4 is also a client of itself, with
// the certificate of the server.
func (a *authority) issue(t testing.TB, name string) Files {
	t.Helper()
	key := newKey(t)
	f := Files{a.file, filepath.Join(a.directory, name+".pem"), filepath.Join(a.directory, name+".key")}
	a.sign(t, &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: a.addresses,
	}, key, name, f.Certificate)
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, f.Key, "PRIVATE KEY", text)
	return f
}

func (a *authority) sign(t testing.TB, c *x509.Certificate, key *ecdsa.PrivateKey, name, file string) {
	t.Helper()
	a.issued++
	c.SerialNumber, c.Subject = big.NewInt(a.issued), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	text, err := x509.CreateCertificate(rand.Reader, c, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", text)
}

// client returns the settings of a client of the harness.
func (a *authority) client(t testing.TB) *tls.Config {
	t.Helper()
	f := a.issue(t, "harness")
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(text)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: trusted}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, file, kind string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
		t.Fatal(err)
	}
}
