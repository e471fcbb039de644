package config

import (
	"strings"
	"testing"

	"sallyport/sessions/gate/access"
)

// carried is a configuration with carriers only, whose tables end with http and dns.
func carried(http, dns string) string {
	text := minimal + "bind = \"connection\"\n[challenge]\ncapture = \"none\"\n" +
		"[[operation]]\nid = \"web-alice\"\nsecret = \"x\"\nservice = \"web\"\nclient = \"com1\"\n"
	if http != "" {
		text += "[[challenge.http]]\n" + http + "\n"
	}
	if dns != "" {
		text += "[challenge.dns]\n" + dns + "\n"
	}
	return text
}

const (
	httpText = "listen = \":443\"\nhost = \"WWW.example.org.\""
	dnsText  = "listen = \":53\"\nzone = \"K.example.org.\"\nservers = [\"NS1.example.org\"]"
)

// TestCarriersOnly: a server with carriers only captures nothing, and requires no
// CAP_NET_RAW, but the capability for its low ports.
func TestCarriersOnly(t *testing.T) {
	c, err := Parse("c.toml", []byte(carried(httpText, dnsText)))
	if err != nil {
		t.Fatal(err)
	}
	if h := c.HTTP(); len(h) != 1 || h[0].Host != "www.example.org" || h[0].TLS() || h[0].Port() != 443 {
		t.Errorf("HTTP: %+v", h)
	}
	if d := c.DNS(); d.Zone.Name != "k.example.org" || d.Zone.Servers[0] != "ns1.example.org" {
		t.Errorf("DNS: %+v", d)
	}
	if got := c.Needs(Host{FirstOpenPort: 1024}); got != (Needs{LowPorts: true}) {
		t.Errorf("needs %+v", got)
	}
	if got := c.Needs(Host{FirstOpenPort: 53}); got != (Needs{}) {
		t.Errorf("needs %+v", got)
	}
	if c.Captured() != nil || c.Firewall().Captured != [2]uint16{} || c.Challenge.PacketPorts().IsValid() {
		t.Error("captures packets")
	}
	if got := len(c.CarrierListeners()); got != 3 {
		t.Errorf("%d sockets", got)
	}
	packets, err := Parse("c.toml", []byte(strings.Replace(carried(httpText, dnsText), "capture = \"none\"\n", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if !packets.Needs(Host{FirstOpenPort: 1024}).Capture || packets.Firewall().Captured == [2]uint16{} {
		t.Error("captures no packets")
	}
}

// TestCarriersWithoutTable: the tables of carriers imply [challenge].
func TestCarriersWithoutTable(t *testing.T) {
	text := strings.Replace(carried(httpText, ""), "[challenge]\ncapture = \"none\"\n", "", 1)
	if c, err := Parse("c.toml", []byte(text)); err != nil || len(c.HTTP()) != 1 {
		t.Errorf("got %v", err)
	}
}

// TestPagesBesideRoot: a directory of pages can be beside that of the site.
func TestPagesBesideRoot(t *testing.T) {
	if _, err := Parse("c.toml", []byte(carried(httpText+"\nroot = \"www\"\npages = \"www-pages\"", ""))); err != nil {
		t.Error(err)
	}
}

// TestCarrierPortsAreNotDrawn: no port of a carrier is drawn for a service.
func TestCarrierPortsAreNotDrawn(t *testing.T) {
	text := strings.Replace(carried(strings.Replace(httpText, "443", "10443", 1), ""), `listen = "127.0.0.1:8080"`, "listen = \"127.0.0.1:0\"\nport = \"rotate\"", 1)
	text = strings.Replace(text, "client = \"com1\"\n", "client = \"com1\"\naction = \"close\"\n", 1)
	c, err := Parse("c.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Services[0].Drawn().Ranges() {
		if access.Ports(p).Has(10443) {
			t.Errorf("%v is drawn", p)
		}
	}
}

func TestCarriersRefused(t *testing.T) {
	http := func(more string) string { return carried(httpText+"\n"+more, "") }
	httpAt := func(listen string) string { return carried(strings.Replace(httpText, ":443", listen, 1), "") }
	dns := func(old, new string) string { return carried("", strings.Replace(dnsText, old, new, 1)) }
	packets := func(text string) string { return strings.Replace(text, "capture = \"none\"\n", "", 1) }
	for text, want := range map[string]string{
		carried("", ""): `c.toml:10: challenge.capture: expected "packet", "sockets" or "none", got "none", with which no exchange could arrive`,
		strings.Replace(http(""), `"none"`, "\"none\"\nports = \"1-2\"", 1):               `challenge.ports: expected a range of ports in quotes, such as "16384-30719", got it with capture = "none"`,
		strings.Replace(http(""), `"none"`, "\"none\"\n[challenge.request]\nbase = 9", 1): `challenge.request: expected a table with an encoding, got it with capture = "none"`,
		carried("listen = \":443\"", ""):                                                  `challenge.http 1: host: expected the host name`,
		httpAt(":0"):                                                                      `listen: expected host:port or :port in quotes, such as ":443", with an IP address as the host, got ":0"`,
		httpAt(":80-90"):                                                                  `got ":80-90"`,
		httpAt("www.example.org:443"):                                                     `got "www.example.org:443"`,
		carried(strings.Replace(httpText, "WWW", "a b", 1), ""):                           `host: expected the host name of the URL that clients use, such as "www.example.org", without a port, got "a b.example.org."`,
		carried(strings.Replace(httpText, "org.", "org:443", 1), ""):                      `got "WWW.example.org:443"`,
		http("tls_key = \"k\""):                                                           `tls_cert: expected the path of a PEM file with a certificate and its chain, together with tls_key, got one without the other`,
		http("root = \"/x\"\nupstream = \"http://127.0.0.1:80\""):                         `upstream: expected the URL of a web server, such as "http://127.0.0.1:8080", without a path, got root as well`,
		http("root = \"/x\"\nunproved = 421"):                                             `unproved: expected a status from 400 to 599, which the web server before this one replaces by its own answer, got a site as well`,
		http("pages = \"\""):                                                              `pages: expected the path of a directory with pages of operation page --serve, got nothing`,
		http("pages = \"www/a/../pages\"\nroot = \"./www\""):                              `pages: expected the path of a directory with pages of operation page --serve, got "www/a/../pages", which is in root`,
		http("pages = \"www\"\nroot = \"www\""):                                           `got "www", which is in root`,
		http("pages = \"x\"\nunproved = 421"):                                             `pages: expected the path of a directory with pages of operation page --serve, got unproved as well`,
		http("root = \"\""):                                                               `root: expected the path of a directory, got nothing`,
		http("proxy_header = \"Forwarded\""):                                              `proxy_header: expected "X-Forwarded-For" or "Forwarded", got "Forwarded" without trusted_proxies`,
		http("proxy_header = \"X-Real-IP\"\ntrusted_proxies = [\"127.0.0.1/32\"]"):        `got "X-Real-IP"`,
		http("trusted_proxies = [\"127.0.0.1\"]"):                                         `trusted_proxies: expected a list of networks in quotes, such as ["127.0.0.1/32"], got "127.0.0.1" (entry 1)`,
		http("proxy_user = \"www-data\""):                                                 `proxy_user: expected the name or number of the user that the proxies on this host run as, not root, got "www-data" without trusted_proxies`,
		http("proxy_user = \"root\"\ntrusted_proxies = [\"127.0.0.1/32\"]"):               `must not run as root`,
		http("upstream = \"127.0.0.1:80\""):                                               `upstream: expected the URL of a web server`,
		http("upstream = \"http://127.0.0.1:80/x\""):                                      `got "http://127.0.0.1:80/x"`,
		http("upstream = \"http://127.0.0.1:70000\""):                                     `got "http://127.0.0.1:70000"`,
		http("upstream = \"http://localhost:443\""):                                       `got "http://localhost:443", which leads back to :443 of this server`,
		http("upstream = \"https://127.0.0.1\""):                                          `which leads back to :443`,
		http("connections = 0"):                                                           `connections: expected how many connections are open at a time, a whole number from 1 to 65536, got 0`,
		httpAt("[::]:8080"):                                                               `challenge.http 1: listen: expected host:port or :port in quotes, such as ":443", with an IP address as the host, got "[::]:8080", whose TCP port service web already uses`,
		packets(strings.Replace(httpAt(":16400"), "[challenge]", "[challenge]\ntransport = \"tcp\"", 1)):                                                                                            `whose TCP port is one of the ports 16384-30719 of requests and responses`,
		packets(strings.Replace(httpAt(":30720"), "[challenge]", "[challenge]\ntransport = \"tcp\"", 1)):                                                                                            `whose TCP port is answer_port`,
		http("[[challenge.http]]\n" + httpText):                                                                                                                                                     `challenge.http 2: listen: expected host:port or :port in quotes, such as ":443", with an IP address as the host, got ":443", whose TCP port another table of [challenge] already uses`,
		carried(strings.Replace(httpText, "443", "53", 1), dnsText):                                                                                                                                 `challenge.dns.listen: expected host:port or :port in quotes, such as ":53", with an IP address as the host, got ":53", whose TCP port another table of [challenge] already uses`,
		strings.Replace(http(""), "[challenge]", serviceText("two", ":443", "firewall")+"[challenge]", 1):                                                                                           `got ":443", whose TCP port service two already uses`,
		strings.Replace(dns("", ""), "[challenge]", serviceText("two", ":53", "firewall")+"protocol = \"udp\"\n[challenge]", 1):                                                                     `got ":53", whose UDP port service two already uses`,
		strings.Replace(http(""), "[challenge]", serviceText("two", ":22", "firewall")+"bind = \"connection\"\nvia = \"proxy\"\nvia_port = 443\n[challenge]", 1):                                    `whose TCP port service two already uses`,
		strings.Replace(http("upstream = \"http://127.0.0.1:444\""), "[challenge]", serviceText("two", ":22", "firewall")+"bind = \"connection\"\nvia = \"proxy\"\nvia_port = 444\n[challenge]", 1): `the via_port of service two`,
		dns(`zone = "K.example.org."`, ""):                             `challenge.dns.zone: expected the name of a zone that is delegated to this host, such as "k.example.org", got nothing`,
		dns("K.example", "k e"):                                        `zone: expected the name of a zone that is delegated to this host, such as "k.example.org", got "k e.org."`,
		dns("K.example.org", strings.Repeat("a.", 95)+"a"):             `expected a name of at most 189 characters`,
		dns("NS1.example.org", "ns.k.example.org"):                     `servers: expected a list of the names of the zone's servers, outside of the zone, such as ["ns1.example.org"], got ["ns.k.example.org"]`,
		dns(`["NS1.example.org"]`, "[]"):                               `got []`,
		dns("NS1.example.org", "192.0.2.1"):                            `servers: expected a list of the names of the zone's servers, outside of the zone, such as ["ns1.example.org"], got ["192.0.2.1"]`,
		dns(":53", ":5353"):                                            `got ":5353", whose UDP port is one of those of knocks, 1025 to 65535`,
		dns("servers", "amplification = 0\nservers"):                   `amplification: expected how many times as long`,
		dns("servers", "answers_per_second = 0\nservers"):              `answers_per_second: expected a whole number from 1 to 1000000, got 0`,
		strings.Replace(dns("", ""), "bind = \"connection\"\n", "", 1): `operation 1: service: expected the name of a service, got "web", which [challenge.dns] alone cannot open`,
	} {
		_, err := Parse("c.toml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// TestCarriersChanged: which changes of a listener a reload applies.
func TestCarriersChanged(t *testing.T) {
	tls := httpText + "\ntls_cert = \"c\"\ntls_key = \"k\""
	for _, row := range []struct{ old, new, want string }{
		{httpText, httpText + "\nroot = \"/srv\"", ""},
		{httpText, httpText + "\nupstream = \"http://127.0.0.1:1\"", ""},
		{tls, strings.Replace(tls, `"c"`, `"other"`, 1), ""},
		{httpText, tls, "the use of TLS of [[challenge.http]]"},
		{httpText, strings.Replace(httpText, "443", "444", 1), "challenge.http.listen"},
		{httpText, strings.Replace(httpText, "WWW", "w", 1), "challenge.http.host"},
		{httpText, httpText + "\ntrusted_proxies = [\"127.0.0.1/32\"]", "challenge.http.trusted_proxies"},
		{httpText + "\ntrusted_proxies = [\"::1/128\"]", httpText + "\ntrusted_proxies = [\"::1/128\"]\nproxy_user = \"w\"", "challenge.http.proxy_user"},
		{httpText, httpText + "\n[[challenge.http]]\nlisten = \":80\"\nhost = \"x\"", "the number of [[challenge.http]] tables"},
	} {
		var both [2]*Config
		for i, text := range []string{row.old, row.new} {
			var err error
			if both[i], err = Parse("c.toml", []byte(carried(text, dnsText))); err != nil {
				t.Fatal(err)
			}
		}
		err := both[0].Changed(both[1], false)
		text := "c.toml: " + row.want + " has changed, which requires a restart"
		if (err != nil) != (row.want != "") || err != nil && err.Error() != text {
			t.Errorf("%s: got %v, want %s", row.new, err, row.want)
		}
	}
	with, _ := Parse("c.toml", []byte(carried(httpText, dnsText)))
	without, _ := Parse("c.toml", []byte(carried(httpText, "")))
	if with.Changed(without, false) == nil || without.Changed(with, false) == nil {
		t.Error("a reload adds or removes [challenge.dns]")
	}
}
