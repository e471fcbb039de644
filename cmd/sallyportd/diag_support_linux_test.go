package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"iter"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
)

// syncedText is a text that another goroutine writes.
type syncedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *syncedText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *syncedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// selfSigned returns the key and the certificate of a host as PEM.
func selfSigned(t *testing.T) (key, cert string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))
}

// keyLine returns the line of a key file that belongs to this key only: the last whole one.
func keyLine(text string) (line string) {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "-----") && (line == "" || len(l) > 20) {
			line = l
		}
	}
	return line
}

func keysOf(table map[string]any) iter.Seq[string] { return maps.Keys(table) }

// uncommentedReference is the reference configuration with each key that has a value.
func uncommentedReference() string {
	var lines []string
	for line := range strings.Lines(config.Reference) {
		text, commented := strings.CutPrefix(line, "# ")
		key, value, assigns := strings.Cut(text, " = ")
		isKey := assigns && !strings.Contains(key, " ") && strings.Trim(value, "[]\"\n") != "…"
		if commented && (isKey || strings.HasPrefix(text, "[")) {
			line = text
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}
