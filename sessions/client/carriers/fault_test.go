package carriers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestNamesOfCertificate: a host that is not the server's cannot make lines of the
// client's own.
func TestNamesOfCertificate(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"a.example\nhint: run this\x1b[31m", strings.Repeat("b", 10_000)}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	defer s.Close()
	at := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	h, err := NewHTTP(HTTPConfig{URL: at, Network: "tcp4", Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	err = h.Request(t.Context(), testMessage(t), never)
	var fault *Fault
	if !errors.As(err, &fault) || fault.Cause != Certificate {
		t.Fatal(err)
	}
	text := fault.Error()
	if strings.ContainsAny(text, "\n\x1b") || len(text) > 2*maxLine || !strings.Contains(text, "a.example?hint: run this?[31m") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

func TestFaultInTime(t *testing.T) {
	t.Parallel()
	f := &Fault{Cause: TimedOut, By: "www.example.org", Err: context.DeadlineExceeded}
	if f.Error() != "www.example.org did not answer in time" {
		t.Error(f)
	}
}

// TestPasswordInURL: the error of a URL does not repeat a password.
func TestPasswordInURL(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"https://user:hunter2@www.example.org/", "https://user:hunter2%zz@www.example.org", "https://user:hunter2@"} {
		if _, err := ParseURL(s); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
