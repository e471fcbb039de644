package web

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// marked are the lines that a recipe adds to the configuration of a site.
var marked = regexp.MustCompile(`(?ms)^\s*# sallyport: begin$.*?^\s*# sallyport: end$\n`)

// recipe returns a file of the directory container, with the addresses and paths of a
// test instead of those of an operator, and without the marked lines for a plain site.
func recipe(t *testing.T, file string, plain bool, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../container/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if plain {
		if !marked.Match(text) {
			t.Fatalf("%s has no marked lines", file)
		}
		text = marked.ReplaceAll(text, nil)
	}
	for i := 0; i < len(replace); i += 2 {
		if !plain && !bytes.Contains(text, []byte(replace[i])) {
			t.Fatalf("%s has no %q", file, replace[i])
		}
		text = bytes.ReplaceAll(text, []byte(replace[i]), []byte(replace[i+1]))
	}
	return string(text)
}

// files writes the pages of a site.
func files(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"index.html": "the site", "404.html": "404: not here", "123/456.html": "a page with a number",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// upstream runs a listener for a reverse proxy, and returns its address.
func upstream(t *testing.T, e *responders) string {
	t.Helper()
	return serveHTTP(t, "127.0.0.1:0", Server{Handler: newHTTP(t, HTTPConfig{
		Unproved: http.StatusMisdirectedRequest, Exchanges: e,
		Proxies: Proxies{[]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, XForwardedFor},
	})})
}

// closed returns an address at which nothing listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// front is a reverse proxy that has a site.
type front struct {
	start func(t *testing.T, plain bool, upstream string) (at string) // returns its address
	tls   *tls.Config                                                 // nil: without TLS
	form  string                                                      // a path that takes forms; "": none
	early bool                                                        // it answers before the body of a GET has arrived
}

// dial connects to the proxy from another address than the proxy's.
func (f front) dial(at string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}
	if f.tls == nil {
		return d.Dial("tcp", at)
	}
	return tls.DialWithDialer(&d, "tcp", at, f.tls)
}

// raw sends a request as it is, and returns the answer without its date.
func (f front) raw(t *testing.T, at, request string) string {
	t.Helper()
	c, err := f.dial(at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	// Some servers reset a connection if they do not read the whole body.
	b, _ := io.ReadAll(c)
	return date.ReplaceAllString(string(b), "Date:")
}

// answersEarly reports whether the proxy answers requests for a page with a number, over
// HTTP/1.1 and HTTP/2, whose bodies never come.
func (f front) answersEarly(t *testing.T, at string) bool {
	t.Helper()
	begins := func(c net.Conn, request string, answer func([]byte) bool) bool {
		defer c.Close()
		c.SetDeadline(time.Now().Add(readFormTime / 2)) // less than any server waits for a body
		io.WriteString(c, request)
		var b [4096]byte
		for n := 0; n < len(b); {
			more, err := c.Read(b[n:])
			if n += more; answer(b[:n]) {
				return true
			}
			if err != nil {
				return false
			}
		}
		return false
	}
	c, err := f.dial(at)
	if err != nil {
		t.Fatal(err)
	}
	one := begins(c, "GET /123/456.html HTTP/1.1\r\nHost: "+testHost+"\r\nContent-Length: 9\r\n\r\n", func(b []byte) bool {
		return bytes.HasPrefix(b, []byte("HTTP/1.1 200"))
	})
	a := newAttacker(t, at)
	if err := a.frame(frameHeaders, endHeaders, 1, "\x82\x04\x0d/123/456.html\x87\x01\x0f"+testHost); err != nil {
		t.Fatal(err)
	}
	return one && begins(a.conn, "", func(b []byte) bool {
		for len(b) >= 9 {
			size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
			if b[3] == frameHeaders {
				return true
			}
			b = b[min(len(b), 9+size):]
		}
		return false
	})
}

// testFront: a stranger gets the same bytes from the proxy alone, from one before a
// server with operations, and from one whose server is down; and exchanges work.
func testFront(t *testing.T, f front) {
	o := operation(t, exchange.NATAware, testID)
	e := newResponders(netip.Addr{}, o)
	plain := f.start(t, true, closed(t))
	with := f.start(t, false, upstream(t, e))
	down := f.start(t, false, closed(t))

	paths := append(strangersRequests(t, o), get("/123/456.html", "If-None-Match: *\r\n"), get("/123/456.html", "Range: bytes=2-3\r\n"),
		get("/123/456.html", "Upgrade: websocket\r\n", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"))
	var requests []string
	for _, r := range paths {
		if strings.HasSuffix(r, cut) || strings.Contains(r, " http://") {
			continue // the programs in front pass neither on as it is
		}
		requests = append(requests, r)
		if f.form != "" && strings.Contains(r, "/login") {
			requests = append(requests, strings.Replace(r, "/login", f.form, 1))
		}
	}
	for _, request := range requests {
		want := f.raw(t, plain, request)
		if want == "" {
			t.Errorf("no answer to %q", request)
		}
		for name, at := range map[string]string{"with": with, "down": down} {
			if got := f.raw(t, at, request); got != want {
				t.Errorf("%s, %q\ngot  %q\nwant %q", name, request, got, want)
			}
		}
	}
	if len(e.waiting) > 0 {
		t.Errorf("%d requests were challenged", len(e.waiting))
	}

	if f.early {
		for name, at := range map[string]string{"plain": plain, "with": with} {
			if !f.answersEarly(t, at) {
				t.Errorf("%s: the answer to a GET waits for its body", name)
			}
		}
	}

	fetch := func(method, path, body string) []byte {
		request := get(path)
		if method == http.MethodPost {
			request = strings.Replace(post(body), "/login", path, 1)
		}
		answer := f.raw(t, with, request)
		if answer == f.raw(t, plain, request) {
			return []byte("404: as to a stranger")
		}
		_, page, _ := strings.Cut(answer, "\r\n\r\n")
		return []byte(page)
	}
	runHTTPExchange(t, e, o, 1005, "127.0.0.2", func(m *carrier.Message) []byte {
		return fetch(http.MethodGet, string(m.AppendPath(nil, 0, m.Numbers())), "")
	})
	if f.form != "" {
		runHTTPExchange(t, e, o, 1006, "127.0.0.2", func(m *carrier.Message) []byte {
			return fetch(http.MethodPost, f.form, string(m.AppendForm(nil)))
		})
	}
}

// TestNginxInFront runs the recipe of nginx.
func TestNginxInFront(t *testing.T) {
	const nginx = "/usr/sbin/nginx"
	if _, err := os.Stat(nginx); err != nil {
		t.Skip("needs nginx")
	}
	c, file := certificate(t, "127.0.0.1")
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	root := files(t)
	app := serveHTTP(t, "127.0.0.1:0", Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q %v %q", r.Method, r.RequestURI, body, err, r.Header.Get("Content-Type"))
	})})
	testFront(t, front{tls: &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}, form: "/app/form", early: true, start: func(t *testing.T, plain bool, upstream string) string {
		return run(t, func(at netip.AddrPort, directory string) *exec.Cmd {
			site := recipe(t, "nginx-site.conf", plain, "listen 443", "listen "+at.String(), "127.0.0.1:8081", upstream,
				"127.0.0.1:8080", app, "/srv/www", root, "/etc/ssl/www.example.org.pem", file, "/etc/ssl/www.example.org.key", keyFile)
			config := filepath.Join(directory, "nginx.conf")
			if err := os.WriteFile(config, fmt.Appendf(nil, `
user root;
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  %[2]s
}
`, directory, site), 0o600); err != nil {
				t.Fatal(err)
			}
			return exec.Command(nginx, "-c", config, "-p", directory)
		}).String()
	}})
}

// TestCaddyInFront runs the recipe of Caddy.
func TestCaddyInFront(t *testing.T) {
	path, err := exec.LookPath("caddy")
	if err != nil {
		t.Skip("needs caddy")
	}
	root := files(t)
	testFront(t, front{start: func(t *testing.T, plain bool, upstream string) string {
		_, fallback, err := net.SplitHostPort(closed(t))
		if err != nil {
			t.Fatal(err)
		}
		return run(t, func(at netip.AddrPort, directory string) *exec.Cmd {
			site := recipe(t, "Caddyfile.site", plain, "www.example.org {", fmt.Sprintf("http://%s:%d {\n\tbind %s", testHost, at.Port(), at.Addr()),
				"127.0.0.1:8081", upstream, "8082", fallback, "/srv/www", root)
			config := filepath.Join(directory, "Caddyfile")
			if err := os.WriteFile(config, []byte("{\n\tadmin off\n}\n"+site), 0o600); err != nil {
				t.Fatal(err)
			}
			command := exec.Command(path, "run", "--config", config, "--adapter", "caddyfile")
			command.Env = append(os.Environ(), "HOME="+directory, "XDG_DATA_HOME="+directory, "XDG_CONFIG_HOME="+directory)
			return command
		}).String()
	}})
}
