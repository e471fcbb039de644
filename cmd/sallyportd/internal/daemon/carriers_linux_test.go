package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

const (
	siteName  = "www.example.org"
	zoneName  = "k.example.org"
	carriedID = "web-com1--"
)

// certificateFiles writes a certificate for siteName, and returns its key's file too.
func certificateFiles(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: siteName}, DNSNames: []string{siteName},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// carrierKeys are the keys of a server with carriers only: HTTP at port 80, HTTPS at port
// 443, and DNS.
func carrierKeys(cert, key, operation string) string {
	return fmt.Sprintf(`
[challenge]
capture = "none"
public_address = [%q, %q]
[[challenge.http]]
listen = ":80"
host = %q
[[challenge.http]]
listen = ":443"
host = %q
tls_cert = %q
tls_key = %q
[challenge.dns]
listen = ":53"
zone = %q
servers = ["ns.example.org"]
%s`, server4, server6, siteName, siteName, cert, key, zoneName, operation)
}

// carriedOperation is the text of an operation that opens the web server.
func carriedOperation(id, more string) string {
	return fmt.Sprintf("[[operation]]\nid = %q\nsecret = \"the secret of an operation\"\nservice = \"web\"\nclient = \"com1\"\n%s\n", id, more)
}

// newCarrierWorld starts a server with carriers only.
func newCarrierWorld(t *testing.T, operations, web string) *world {
	t.Helper()
	cert, key := certificateFiles(t, t.TempDir())
	w := newWorld(t, func(s *setup) {
		s.web = web + "\n" + carrierKeys(cert, key, operations)
	})
	w.until(t, "the sockets", func() bool {
		for _, at := range []string{":80", ":443", ":53"} {
			if l, err := net.Listen("tcp", at); err == nil {
				l.Close()
				return false
			}
		}
		return w.server.challenge.carriers.zone.now.Load() != nil
	})
	return w
}

// dialogue is an exchange by a carrier, as a client makes it.
type dialogue struct {
	t         *testing.T
	x         carrier.Exchange
	kind      carrier.Kind
	initiator *exchange.Initiator
}

// dialogue begins an exchange for an address, or for a connection if it is zero. Server is
// the address in its messages.
func newDialogue(t *testing.T, id string, self, server netip.Addr) *dialogue {
	t.Helper()
	o, err := exchange.NewOperation(id, "the secret of an operation", exchange.NATAware, strings.HasPrefix(id, "random"))
	if err != nil {
		t.Fatal(err)
	}
	var random [28]byte
	rand.Read(random[:])
	d := &dialogue{t: t, x: carrier.Exchange(binary.BigEndian.Uint64(random[:]) >> 8)}
	switch {
	case self.Is4():
		d.kind = carrier.Request4
	case self.Is6():
		d.kind = carrier.Request6
	default:
		d.kind, self = carrier.RequestConnection, carrier.ClientOf(d.x)
	}
	if d.initiator, err = exchange.NewInitiator(o, self, server, [20]byte(random[8:])); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *dialogue) message(k carrier.Kind, b []byte) *carrier.Message {
	d.t.Helper()
	m, err := carrier.New(k, d.x, b)
	if err != nil {
		d.t.Fatal(err)
	}
	return &m
}

// respond returns the response to a challenge.
func (d *dialogue) respond(challenge []byte) (*carrier.Message, exchange.Answer) {
	d.t.Helper()
	a, err := d.initiator.Answer(challenge)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.message(carrier.Response, a.Response), a
}

// browser is a client of HTTP on the client's host.
func (w *world) browser(http2 bool) *http.Client {
	var d net.Dialer
	dial := func(_ context.Context, network, at string) (c net.Conn, err error) {
		_, port, _ := net.SplitHostPort(at)
		err = w.host.Do(func() error {
			c, err = d.Dial(network, net.JoinHostPort(server4, port))
			return err
		})
		return c, err
	}
	return &http.Client{Transport: &http.Transport{
		DialContext: dial, ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: siteName},
	}}
}

// send sends a message by a path or a form, and returns the challenge; nil: none.
func (d *dialogue) send(c *http.Client, origin string, m *carrier.Message, form bool) []byte {
	d.t.Helper()
	var r *http.Response
	var err error
	if form {
		r, err = c.Post(origin+"/search", carrier.FormType, bytes.NewReader(m.AppendForm(nil)))
	} else {
		r, err = c.Get(origin + string(m.AppendPath(nil, 0, m.Numbers())))
	}
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	if want := map[bool]int{false: 1, true: 2}[strings.HasPrefix(origin, "https")]; r.ProtoMajor != want {
		d.t.Errorf("HTTP/%d, want %d", r.ProtoMajor, want)
	}
	page, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	challenge, reason := carrier.ParsePage(nil, page)
	if (r.StatusCode == http.StatusOK) != (reason == carrier.Accepted) {
		d.t.Fatalf("status %d with %q", r.StatusCode, page)
	}
	if reason != carrier.Accepted {
		return nil
	}
	return challenge
}

// byHTTP makes an exchange over HTTP.
func (d *dialogue) byHTTP(c *http.Client, origin string, form bool) exchange.Answer {
	d.t.Helper()
	challenge := d.send(c, origin, d.message(d.kind, d.initiator.Request()), form)
	if challenge == nil {
		d.t.Fatal("no challenge")
	}
	m, a := d.respond(challenge)
	if d.send(c, origin, m, form) != nil {
		d.t.Error("a response got a challenge")
	}
	return a
}

var (
	self4 = netip.MustParseAddr("198.51.100.2")
	to4   = netip.MustParseAddr(server4)
)

// reached reports whether the client's host gets a page of the service.
func (w *world) reached() bool {
	status, err := w.get(server4, "/test1.html")
	return err == nil && status == http.StatusOK
}

// TestExchangeOverHTTP: an exchange over HTTP/1.1, and over HTTP/2 with TLS, by paths and
// by forms, opens the service for the client's address.
func TestExchangeOverHTTP(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newCarrierWorld(t, carriedOperation(carriedID, "")+carriedOperation("close-com1", "action = \"close\""), "")
	for _, origin := range []string{"http://" + siteName, "https://" + siteName} {
		for _, form := range []bool{false, true} {
			c := w.browser(strings.HasPrefix(origin, "https"))
			if w.reached() {
				t.Fatal("open before the exchange")
			}
			newDialogue(t, carriedID, self4, to4).byHTTP(c, origin, form)
			w.until(t, "the service", w.reached)
			newDialogue(t, "close-com1", self4, to4).byHTTP(c, origin, form)
			w.until(t, "the end of the lease", func() bool { return !w.reached() })
			c.CloseIdleConnections()
		}
	}
	counts := w.server.Counters()
	if counts["http_challenges"] != 8 || counts["carried_verified"] != 8 {
		t.Errorf("counters: %v", counts)
	}
}

var dateLine = regexp.MustCompile(`Date: [^\r]*`)

// stranger sends requests to a server, as they are, and returns the answers.
func stranger(t *testing.T, w *world) (all []string) {
	t.Helper()
	x := newDialogue(t, "no-such-id", self4, to4)
	m := x.message(carrier.Request4, append([]byte(carriedID), 1, 2, 3)) // of no operation's length
	wrong := x.message(carrier.Response, make([]byte, 20))
	part := x.message(carrier.Request4, []byte("a message in parts"))
	body := string(m.AppendForm(nil))
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET " + string(m.AppendPath(nil, 0, m.Numbers())) + " HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nConnection: close\r\n\r\n",
		"GET " + string(wrong.AppendPath(nil, 0, wrong.Numbers())) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET " + string(part.AppendPath(nil, 0, 1)) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", carrier.FormType, len(body), body),
		"nonsense\r\n\r\n",
	} {
		err := w.host.Do(func() error {
			c, err := net.Dial("tcp", net.JoinHostPort(server4, "80"))
			if err != nil {
				return err
			}
			defer c.Close()
			io.WriteString(c, request)
			answer, err := io.ReadAll(c)
			all = append(all, dateLine.ReplaceAllString(string(answer), "Date:"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestStrangersOfCarriers: strangers get the same answers, byte for byte, whether there
// are operations or not. (Without a usable operation, the table of exchanges is empty.)
func TestStrangersOfCarriers(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var answers [2][]string
	for i, client := range []string{"com1", "gone"} {
		t.Run(client, func(t *testing.T) {
			w := newCarrierWorld(t, strings.Replace(carriedOperation(carriedID, ""), "com1\"\n", client+"\"\n", 1), "")
			if n := len(w.server.challenge.operations.Load().byID); n != 1-i {
				t.Fatalf("%d operations", n)
			}
			answers[i] = stranger(t, w)
		})
	}
	for i, got := range answers[0] {
		if got != answers[1][i] || !strings.HasPrefix(got, "HTTP/1.1 4") {
			t.Errorf("with operations:    %q\nwithout operations: %q", got, answers[1][i])
		}
	}
}

// TestCarriersReload: a reload changes the site and the certificate for later requests
// and connections, and ends no connection, and no exchange of an operation that it does not
// change. Of an operation that changes, the exchange in progress gets nothing.
func TestCarriersReload(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newCarrierWorld(t, carriedOperation(carriedID, ""), "")
	c := w.browser(true)
	const origin = "https://" + siteName
	serial := func() *big.Int {
		r, err := c.Get(origin + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.TLS.PeerCertificates[0].SerialNumber
	}
	before := serial()
	d := newDialogue(t, carriedID, self4, to4)
	challenge := d.send(c, origin, d.message(d.kind, d.initiator.Request()), true)
	dir := t.TempDir()
	cert, key := certificateFiles(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("the new site"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(carrierKeys(cert, key, carriedOperation(carriedID, "")), "tls_cert", fmt.Sprintf("root = %q\ntls_cert", dir), 1)
	w.apply(t, text)
	m, _ := d.respond(challenge)
	d.send(c, origin, m, true)
	w.until(t, "the service", w.reached)
	w.server.gate.EndLeases(func(gate.Lease) bool { return true }, true, gate.ByAdministrator)
	r, err := c.Get(origin + "/")
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(r.Body)
	r.Body.Close()
	if string(page) != "the new site" || serial().Cmp(before) != 0 {
		t.Errorf("got %q over a connection with another certificate", page)
	}
	c.CloseIdleConnections()
	if serial().Cmp(before) == 0 {
		t.Error("a new connection has the old certificate")
	}
	changed, unchanged := newDialogue(t, carriedID, self4, to4), newDialogue(t, carriedID, self4, to4)
	challenge = changed.send(c, origin, changed.message(changed.kind, changed.initiator.Request()), true)
	refused := w.server.Counters()["carried_unmatched"]
	w.apply(t, carrierKeys(cert, key, carriedOperation(carriedID, "open_for = \"7s\"")))
	m, _ = changed.respond(challenge)
	changed.send(c, origin, m, true)
	if n := w.server.Counters()["carried_unmatched"]; n != refused+1 || w.reached() {
		t.Errorf("an exchange of an operation that has changed: %d unmatched", n-refused)
	}
	unchanged.byHTTP(c, origin, false)
	w.until(t, "the service", w.reached)
}

// apply puts a configuration with other carriers in force, as a reload does.
func (w *world) apply(t *testing.T, carriers string) {
	t.Helper()
	current := w.server.reloads.current
	next, err := config.Parse(current.Path, fmt.Appendf(nil, "ports = 3\nport_secret = \"the port secret\"\nclients = \"clients.txt\"\n"+
		"readers = 2\nstate_dir = %q\n[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \"[::]:%s\"\n%s", current.StateDir, web, carriers))
	if err == nil {
		err = current.Changed(next, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(next, w.list, w.clock.Now())
	if err == nil {
		err = w.server.apply(t.Context(), next, p)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCarriersStop: the sockets of carriers close with the server, and a server that finds
// a port taken gets it later.
func TestCarriersStop(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	taken, err := net.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("server", func(t *testing.T) {
		cert, key := certificateFiles(t, t.TempDir())
		w := newWorld(t, func(s *setup) { s.web = carrierKeys(cert, key, carriedOperation(carriedID, "")) })
		w.until(t, "the other socket", func() bool {
			l, err := net.Listen("tcp", ":443")
			if err == nil {
				l.Close()
			}
			return err != nil
		})
		w.until(t, "the reason", func() bool {
			return strings.Contains(w.server.waiting()["[challenge.http] at :80"], "address already in use")
		})
		taken.Close()
		w.until(t, "the port", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:80")
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		if all := w.server.waiting(); len(all) > 0 {
			t.Errorf("waiting: %q", all)
		}
	})
	for _, at := range []string{":80", ":443", ":53"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Errorf("after the stop: %v", err)
			continue
		}
		l.Close()
	}
}

// TestCarriersRestart: an exchange does not outlast the server: after a restart in its
// middle, the response opens nothing, and the next exchange succeeds.
func TestCarriersRestart(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	var d *dialogue
	var challenge []byte
	const origin = "http://" + siteName
	t.Run("before", func(t *testing.T) {
		w := newCarrierWorld(t, carriedOperation(carriedID, ""), "")
		d = newDialogue(t, carriedID, self4, to4)
		challenge = d.send(w.browser(false), origin, d.message(d.kind, d.initiator.Request()), true)
		if challenge == nil {
			t.Fatal("no challenge")
		}
	})
	t.Run("after", func(t *testing.T) {
		w := newCarrierWorld(t, carriedOperation(carriedID, ""), "")
		c := w.browser(false)
		d.t = t
		response, _ := d.respond(challenge)
		d.send(c, origin, response, true)
		if w.reached() || w.server.Counters()["carried_unmatched"] != 1 {
			t.Errorf("a response to the server before this one: %v", w.server.Counters())
		}
		newDialogue(t, carriedID, self4, to4).byHTTP(c, origin, true)
		w.until(t, "the service", w.reached)
	})
}
