package gate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificate makes a certificate for a name, and reads it as the server does.
func certificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	paths := map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}}
	for path, block := range paths {
		if err := os.WriteFile(filepath.Join(dir, path), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Certificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Certificate(filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")); err == nil {
		t.Error("a key was taken for a certificate")
	}
	return c
}

// TestWebOverTLS: with HTTP/2, and with another certificate for later
// connections.
func TestWebOverTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	web := NewWeb(Content{Handler: Pages(), Certificate: certificate(t, "first")}, slog.New(slog.DiscardHandler))
	go web.Serve(l)
	get := func() (name string, protocol int) {
		t.Helper()
		c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		r, err := c.Get("https://" + l.Addr().String() + "/test1.html")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", r.Status, err)
		}
		return r.TLS.PeerCertificates[0].Subject.CommonName, r.ProtoMajor
	}
	if name, protocol := get(); name != "first" || protocol != 2 {
		t.Errorf("%s, HTTP/%d", name, protocol)
	}
	web.Update(Content{Handler: Pages(), Certificate: certificate(t, "second")})
	if name, _ := get(); name != "second" {
		t.Errorf("%s, after another was read", name)
	}
}
