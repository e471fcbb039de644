package web

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/ingest/web/webtest"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// curl sends requests in one call of curl, over one connection where it can.
func curl(t *testing.T, arguments ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	var out, errors bytes.Buffer
	command := exec.Command(path, append([]string{"--silent", "--show-error", "--noproxy", "*", "--max-time", "60"}, arguments...)...)
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil {
		t.Fatalf("curl %s: %v\n%s", arguments, err, errors.Bytes())
	}
	return out.Bytes()
}

// certificate makes a certificate for an address, and writes it to a file.
func certificate(t testing.TB, address string) (c tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "certificate.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// TestCurl makes exchanges with curl, over HTTP/1.1 and, in TLS, HTTP/2.
func TestCurl(t *testing.T) {
	o := operation(t, exchange.NATAware, testID)
	c, file := certificate(t, "127.0.0.1")
	for x, test := range []struct {
		name, scheme string
		server       Server
		arguments    []string
		version      string
	}{
		{"HTTP/1.1", "http", Server{}, nil, "1.1"},
		{"HTTPS/1.1", "https", Server{TLS: &tls.Config{Certificates: []tls.Certificate{c}}}, []string{"--http1.1"}, "1.1"},
		{"HTTP/2", "https", Server{TLS: &tls.Config{Certificates: []tls.Certificate{c}}}, []string{"--http2"}, "2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newResponders(netip.Addr{}, o)
			test.server.Handler = newHTTP(t, HTTPConfig{Site: http.NotFoundHandler(), Exchanges: e})
			at := test.scheme + "://" + serveHTTP(t, "127.0.0.1:0", test.server)
			arguments := append([]string{"--cacert", file}, test.arguments...)
			runHTTPExchange(t, e, o, carrier.Exchange(x), "127.0.0.1", func(m *carrier.Message) []byte {
				return curl(t, append(arguments, at+string(m.AppendPath(nil, 0, m.Numbers())))...)
			})
			runHTTPExchange(t, e, o, carrier.Exchange(x+100), "127.0.0.1", func(m *carrier.Message) []byte {
				return curl(t, append(arguments, "--data-raw", string(m.AppendForm(nil)), at+"/login")...)
			})
			// A page for each part, over one connection.
			runHTTPExchange(t, e, o, carrier.Exchange(x+200), "127.0.0.1", func(m *carrier.Message) []byte {
				pages := append(arguments, "--write-out", "%{stderr}%{num_connects}")
				for i := range m.Numbers() {
					pages = append(pages, at+string(m.AppendPath(nil, i, i+1)))
				}
				out := curl(t, pages...)
				return bytes.TrimPrefix(out, bytes.Repeat([]byte("404 page not found\n"), m.Numbers()-1))
			})
			version := curl(t, append(arguments, "--output", "/dev/null", "--write-out", "%{http_version}", at)...)
			if string(version) != test.version {
				t.Errorf("version %s, want %s", version, test.version)
			}
		})
	}
}

// startNginx runs nginx before a server, and returns its address.
func startNginx(t *testing.T, nginx, at string) string {
	t.Helper()
	return webtest.Run(t, func(public netip.AddrPort, directory string) *exec.Cmd {
		config := filepath.Join(directory, "nginx.conf")
		if err := os.WriteFile(config, fmt.Appendf(nil, `
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  map $http_upgrade $connection_upgrade {
    default upgrade;
    "" close;
  }
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen %[2]s;
    location / {
      proxy_pass http://%[3]s;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }
  }
}
`, directory, public, at), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(nginx, "-c", config, "-p", directory)
	}).String()
}

// TestNginx makes exchanges through nginx, which is a trusted proxy.
func TestNginx(t *testing.T) {
	const nginx = "/usr/sbin/nginx"
	if _, err := os.Stat(nginx); err != nil {
		t.Skip("needs nginx")
	}
	o := operation(t, exchange.NATAware, testID)
	e := newResponders(netip.Addr{}, o)
	at := serveHTTP(t, "127.0.0.1:0", Server{Handler: newHTTP(t, HTTPConfig{
		Site: http.NotFoundHandler(), Exchanges: e,
		Proxies: Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Header: XForwardedFor},
	})})
	public := startNginx(t, nginx, at)
	// The client's own header comes first, and does not count.
	client := []string{"--interface", "127.0.0.2", "--header", "X-Forwarded-For: 192.0.2.7"}
	runHTTPExchange(t, e, o, 5, "127.0.0.2", func(m *carrier.Message) []byte {
		return curl(t, append(client, "http://"+public+string(m.AppendPath(nil, 0, m.Numbers())))...)
	})
	runHTTPExchange(t, e, o, 6, "127.0.0.2", func(m *carrier.Message) []byte {
		return curl(t, append(client, "--data-raw", string(m.AppendForm(nil)), "http://"+public+"/")...)
	})
	if got := string(curl(t, append(client, "http://"+public+"/")...)); !strings.Contains(got, "404") {
		t.Errorf("a stranger got %q", got)
	}
}
