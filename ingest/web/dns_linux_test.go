package web

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/ingest/web/webtest"
	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// serveDNS runs a DNS for testZone at a free port of an address, over UDP and TCP.
func serveDNS(t *testing.T, address string, c DNSConfig) (*DNS, netip.AddrPort) {
	t.Helper()
	var at netip.AddrPort
	for range 20 { // another program may have the port over TCP
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", u.LocalAddr().String())
		if err != nil {
			u.Close()
			continue
		}
		c.Sockets, c.Listeners = []*net.UDPConn{u}, []net.Listener{l}
		at = u.LocalAddr().(*net.UDPAddr).AddrPort()
		break
	}
	c.Zone = Zone{Name: testZone, Servers: []string{"ns.example.com"}}
	d, err := NewDNS(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return d, at
}

// runExchange makes an exchange by a function that looks up the strings of a name's TXT
// records.
func runExchange(t *testing.T, e *responders, o *exchange.Operation, x carrier.Exchange, lookup func(name string) []string) {
	t.Helper()
	before := e.proved()
	d := newDialogue(t, o, x)
	var texts []string
	for _, name := range d.request(t) {
		texts = append(texts, lookup(name)...)
	}
	if len(texts) != 1 {
		t.Fatalf("expected one challenge, got %q", texts)
	}
	for _, name := range d.response(t, texts[0]) {
		if got := lookup(name); len(got) > 0 {
			t.Errorf("a response got %q", got)
		}
	}
	if got := e.proved() - before; got != 1 {
		t.Errorf("%d proofs, want 1", got)
	}
}

// operations of the tests: a request of one and of two queries.
func short(t testing.TB) *exchange.Operation { return operation(t, exchange.NATAware, testID) }
func long(t testing.TB) *exchange.Operation {
	return operation(t, exchange.Mutual, "ssh-alice-a-long")
}

// TestResolver makes exchanges with the resolver of Go, over UDP and TCP.
func TestResolver(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(network+" "+address, func(t *testing.T) {
				e := newResponders(carrier.ServerOf(carrier.DNS, testZone), short(t), long(t))
				_, at := serveDNS(t, address, DNSConfig{Exchanges: e})
				r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					var d net.Dialer
					return d.DialContext(ctx, network, at.String())
				}}
				lookup := func(name string) []string {
					texts, err := r.LookupTXT(t.Context(), name+".")
					if e, ok := err.(*net.DNSError); err != nil && (!ok || !e.IsNotFound) {
						t.Fatal(err)
					}
					return texts
				}
				runExchange(t, e, short(t), 5, lookup)
				runExchange(t, e, long(t), 6, lookup)
			})
		}
	}
}

// TestShortAnswersOverTCP: a resolver that gets the bit TC asks again over TCP.
func TestShortAnswersOverTCP(t *testing.T) {
	e := newResponders(carrier.ServerOf(carrier.DNS, testZone), short(t))
	d, at := serveDNS(t, "127.0.0.1:0", DNSConfig{Exchanges: e, Amplification: 1})
	runExchange(t, e, short(t), 5, func(name string) []string { return dig(t, at, name, "TXT", "+short") })
	if st := d.Stats(); st.Outcomes[Truncated] == 0 || st.Outcomes[Challenge] != 1 {
		t.Errorf("the counts are %+v", st)
	}
}

// dig runs dig, and returns the strings of TXT records, or the lines of its output.
func dig(t *testing.T, at netip.AddrPort, name string, more ...string) (out []string) {
	t.Helper()
	path, err := exec.LookPath("dig")
	if err != nil {
		t.Skip("needs dig")
	}
	arguments := append([]string{"@" + at.Addr().String(), "-p", fmt.Sprint(at.Port()), "+time=5", "+tries=2", name}, more...)
	text, err := exec.Command(path, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig %s: %v\n%s", arguments, err, text)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		if line != "" {
			out = append(out, strings.Trim(line, `"`))
		}
	}
	return out
}

// TestDig: dig understands each answer, without a warning.
func TestDig(t *testing.T) {
	e := newResponders(carrier.ServerOf(carrier.DNS, testZone), short(t))
	_, at := serveDNS(t, "127.0.0.1:0", DNSConfig{Exchanges: e})
	runExchange(t, e, short(t), 5, func(name string) []string { return dig(t, at, name, "TXT", "+short") })
	runExchange(t, e, short(t), 6, func(name string) []string {
		return dig(t, at, name, "TXT", "+short", "+tcp", "+noedns")
	})
	for _, test := range []struct {
		arguments []string
		want      string
	}{
		{[]string{testZone, "SOA"}, `status: NOERROR.*flags: qr aa.*ANSWER: 1, AUTHORITY: 0.*k\.example\.com\.\s+3600\s+IN\s+SOA\s+ns\.example\.com\. hostmaster\.k\.example\.com\. 1 7200 3600 1209600 300`},
		{[]string{testZone, "NS"}, `status: NOERROR.*ANSWER: 1.*IN\s+NS\s+ns\.example\.com\.`},
		{[]string{testZone, "ANY", "+notcp"}, `status: NOERROR.*ANSWER: 1.*SOA`},
		{[]string{testZone, "AAAA"}, `status: NOERROR.*ANSWER: 0, AUTHORITY: 1.*300\s+IN\s+SOA`},
		{[]string{"www." + testZone, "A"}, `status: NXDOMAIN.*ANSWER: 0, AUTHORITY: 1.*300\s+IN\s+SOA`},
		{[]string{"example.org", "A"}, `status: REFUSED.*ANSWER: 0, AUTHORITY: 0`},
		{[]string{testZone, "SOA", "+edns=1", "+noednsnegotiation"}, `status: BADVERS`},
		{[]string{testZone, "SOA", "+opcode=NOTIFY", "+noedns"}, `status: NOTIMP`},
		{[]string{testZone, "SOA", "+dnssec", "+cookie", "+nsid"}, `status: NOERROR.*flags: do; udp: 1232`},
	} {
		got := strings.Join(dig(t, at, test.arguments[0], append(test.arguments[1:], "+norecurse")...), "\n")
		if !regexp.MustCompile("(?s)"+test.want).MatchString(got) || strings.Contains(got, "WARNING") {
			t.Errorf("dig %s: %s\nwant %s", test.arguments, got, test.want)
		}
	}
}

// TestUnbound makes exchanges through a recursive resolver that minimises names, changes
// the case of letters, applies the NXDOMAIN cut and caches. It believes that the server
// is that of the zone's parent, so it asks for the zone first.
func TestUnbound(t *testing.T) {
	path, err := exec.LookPath("unbound")
	if err != nil {
		t.Skip("needs unbound")
	}
	e := newResponders(carrier.ServerOf(carrier.DNS, testZone), short(t), long(t))
	d, at := serveDNS(t, "127.0.0.1:0", DNSConfig{Exchanges: e})
	resolver := webtest.Run(t, func(resolver netip.AddrPort, directory string) *exec.Cmd {
		config := filepath.Join(directory, "unbound.conf")
		if err := os.WriteFile(config, fmt.Appendf(nil, `
server:
  interface: %s@%d
  directory: "%s"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  num-threads: 1
  do-not-query-localhost: no
  module-config: "iterator"
  qname-minimisation: yes
  qname-minimisation-strict: yes
  use-caps-for-id: yes
  harden-below-nxdomain: yes
  domain-insecure: "example.com"
remote-control:
  control-enable: no
stub-zone:
  name: "example.com"
  stub-addr: %s@%d
`, resolver.Addr(), resolver.Port(), directory, at.Addr(), at.Port()), 0o600); err != nil {
			t.Fatal(err)
		}
		return exec.Command(path, "-c", config, "-d")
	})
	lookup := func(name string) []string { return dig(t, resolver, name, "TXT", "+short") }
	runExchange(t, e, short(t), 5, lookup)
	runExchange(t, e, long(t), 6, lookup)
	if got := strings.Join(dig(t, resolver, "www."+testZone, "A"), "\n"); !strings.Contains(got, "status: NXDOMAIN") {
		t.Errorf("a stranger's query: %s", got)
	}
	counts := d.Stats().Outcomes
	if counts[Apex] == 0 || counts[NoName] == 0 || counts[Malformed]+counts[Refused] > 0 {
		t.Errorf("the counts are %+v", counts)
	}
}

// TestAnswersComeFromTheDestination: also at a socket that is bound to no address.
func TestAnswersComeFromTheDestination(t *testing.T) {
	for _, test := range []struct{ bound, destination string }{
		{"0.0.0.0:0", "127.0.0.3"}, {"[::]:0", "127.0.0.3"}, {"[::]:0", "::1"},
	} {
		_, at := serveDNS(t, test.bound, DNSConfig{Exchanges: newResponders(netip.Addr{})})
		c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(test.destination), at.Port()).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(asked{name: testZone, kind: dnsmessage.TypeSOA}.pack(t)); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Minute))
		var b [maxUDP]byte
		n, err := c.Read(b[:]) // of a connected socket: only from there
		if err != nil {
			t.Fatalf("%s at %s: %v", test.destination, test.bound, err)
		}
		if got := summary(unpack(t, b[:n])); got != "Success aa; answer k.example.com. SOA" {
			t.Errorf("%s", got)
		}
	}
}

// overTCP sends a query and returns the answer.
func overTCP(c net.Conn, query []byte) ([]byte, error) {
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	out := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, out)
	return out, err
}

// TestConnectionsAreBounded: clients that send nothing, or half of a query, give way to
// others, and one that asks keeps its connection.
func TestConnectionsAreBounded(t *testing.T) {
	d, at := serveDNS(t, "127.0.0.1:0", DNSConfig{Exchanges: newResponders(netip.Addr{}), Connections: 4})
	query := asked{name: testZone, kind: dnsmessage.TypeSOA}.pack(t)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		return c
	}
	active := dial()
	for i := range 20 {
		slow := dial()
		if _, err := slow.Write([]byte{0, byte(len(query)), 1, 2}); err != nil {
			t.Fatal(err)
		}
		if _, err := overTCP(active, query); err != nil {
			t.Fatalf("after %d slow connections: %v", i, err)
		}
		fresh := dial()
		if _, err := overTCP(fresh, query); err != nil {
			t.Fatalf("after %d slow connections, a new one: %v", i, err)
		}
	}
	if st := d.Stats(); st.Open > 4 || st.Replaced == 0 {
		t.Errorf("%d connections are open, %d were replaced", st.Open, st.Replaced)
	}
}

// TestConnectionsEnd: a message that is too long, or too many, end a connection.
func TestConnectionsEnd(t *testing.T) {
	_, at := serveDNS(t, "127.0.0.1:0", DNSConfig{Exchanges: newResponders(netip.Addr{})})
	query := asked{name: testZone, kind: dnsmessage.TypeSOA}.pack(t)
	for name, test := range map[string]struct {
		query   []byte
		answers int
	}{
		"many": {query, maxQueries}, "long": {make([]byte, maxQuery+1), 0}, "not a query": {make([]byte, 4), 0},
	} {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		answers := 0
		for ; ; answers++ {
			if _, err := overTCP(c, test.query); err != nil {
				if os.IsTimeout(err) {
					t.Errorf("%s: the connection is still open", name)
				}
				break
			}
		}
		if answers != test.answers {
			t.Errorf("%s: %d answers, want %d", name, answers, test.answers)
		}
	}
}
