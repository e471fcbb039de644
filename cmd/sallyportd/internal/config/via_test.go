package config

import (
	"slices"
	"strings"
	"testing"

	"sallyport/sessions/client"
	"sallyport/sessions/gate/access"
)

// behindProxy is a service of another program, behind the firewall and a proxy.
var behindProxy = minimal + serviceText("mail", ":2525", "firewall") + "bind = \"connection\"\nvia = \"proxy\"\nvia_port = 10025\n"

// TestVia: the server listens at via_port, and the firewall redirects there. Profiles, the
// firewall's guard and the description have the program's port.
func TestVia(t *testing.T) {
	plain, err := Parse("c.toml", []byte(minimal+serviceText("mail", ":2525", "firewall")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("c.toml", []byte(behindProxy+"on_close = \"cut\"\nmax_connections = 200\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := &c.Services[1]
	if s.Binds() || !s.Carries() || !s.Proves || !c.Proves() || s.Via() != 10025 || s.Port() != 2525 || s.Connections != 200 {
		t.Errorf("%+v", s)
	}
	if s.ProfileService() != ":2525" || s.ProfileBind() != client.BindConnection || s.ProfileServiceName() != "mail" {
		t.Errorf("a profile has service %q, bind %v, name %q", s.ProfileService(), s.ProfileBind(), s.ProfileServiceName())
	}
	p := c.Firewall().Ports[1]
	if p.Port != 2525 || p.Listener != 10025 || p.Cut {
		t.Errorf("the firewall guards %+v", p)
	}
	if err := c.Firewall().Validate(); err != nil {
		t.Error(err)
	}
	// The server carries the connections, so neither the holder nor the record has to know them.
	if c.CutByHelper() != nil || c.Carried() != nil || len(plain.Carried()) != 1 {
		t.Errorf("the holder ends connections of %v, and the record has those of %v", c.CutByHelper(), c.Carried())
	}
	via := access.Ports{First: 10025, Last: 10025}
	if !slices.Contains(c.ServicePorts(), via) || slices.Contains(c.UDPPorts(), via) {
		t.Errorf("ports of services: %v", c.ServicePorts())
	}
	for _, part := range []string{"and a proxy at port 10025, which connects to the program at 127.0.0.1:2525", "at :2525", "each connection must prove"} {
		if !strings.Contains(s.Describe(), part) {
			t.Errorf("described as %q, without %q", s.Describe(), part)
		}
	}
	if plain.Digest() == c.Digest() || plain.Changed(c, false) == nil {
		t.Error("a holder, or a server, of the configuration without the proxy takes it over")
	}
	low, err := Parse("c.toml", []byte(strings.Replace(behindProxy, "10025", "900", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if h := (Host{FirstOpenPort: 1024}); c.Needs(h).LowPorts || !low.Needs(h).LowPorts {
		t.Error("the capability for ports below 1024")
	}
	for listen, want := range map[string][2]string{
		":2525": {":10025", "127.0.0.1:2525"}, "[::]:2525": {"[::]:10025", "127.0.0.1:2525"},
		"192.0.2.1:2525": {"192.0.2.1:10025", "192.0.2.1:2525"}, "[2001:db8::1]:2525": {"[2001:db8::1]:10025", "[2001:db8::1]:2525"},
	} {
		c, err := Parse("c.toml", []byte(strings.Replace(behindProxy, "\":2525\"", "\""+listen+"\"", 1)))
		if err != nil {
			t.Fatal(err)
		}
		if s := &c.Services[1]; s.Listener() != want[0] || string(s.behind()) != want[1] {
			t.Errorf("%s: listens at %s, connects to %s", listen, s.Listener(), s.behind())
		}
	}
}

// TestViaRefuses: each key that a proxy before a program cannot have is an error.
func TestViaRefuses(t *testing.T) {
	with := func(keys string) string { return behindProxy + keys + "\n" }
	instead := func(old, new string) string { return strings.Replace(behindProxy, old, new, 1) }
	another := func(text string) string { return behindProxy + text }
	for name, row := range map[string]struct{ text, want string }{
		"UDP":             {with("protocol = \"udp\""), `via: expected "proxy", together with bind = "connection", got "proxy" for a service that cannot have a proxy: that requires protocol = "tcp"`},
		"rotation":        {with("port = \"rotate\""), `via: expected "proxy", together with bind = "connection", got "proxy" for a service that cannot have a proxy: that requires port = "fixed"`},
		"a range":         {instead(`":2525"`, `":2525-2526"`), "requires one port in listen"},
		"a list":          {instead(`":2525"`, `[":25", ":2525"]`), "requires one port in listen"},
		"forwarded":       {with("hook = \"forward\""), "behind DNAT or a port that Docker publishes"},
		"input":           {with("hook = \"input\""), `requires hook = "prerouting"`},
		"jump":            {with("jump = \"mine\""), "requires a service without jump"},
		"allow":           {with("allow = [\"10.0.0.0/8\"]"), "requires a service without allow"},
		"no bind":         {instead("bind = \"connection\"\n", ""), `via: expected "proxy", together with bind = "connection", got "proxy" with bind = "address"`},
		"isn":             {instead("bind = \"connection\"", "bind = \"isn\""), `got "proxy" with bind = "isn"`},
		"no via":          {instead("via = \"proxy\"\nvia_port = 10025\n", ""), `bind: expected "address", "connection", or for type "firewall" "isn", got "connection" without via = "proxy"`},
		"no port":         {instead("via_port = 10025\n", ""), `via_port: expected a free TCP port of this host, from 1 to 65535, together with via = "proxy", got nothing`},
		"a port alone":    {instead("bind = \"connection\"\nvia = \"proxy\"\n", ""), `via_port: `},
		"port 0":          {instead("10025", "0"), "via_port: "},
		"another way":     {instead(`via = "proxy"`, `via = "tproxy"`), `via: expected "proxy", together with bind = "connection", got "tproxy"`},
		"limits, no via":  {minimal + serviceText("mail", ":2525", "firewall") + "max_connections = 3\n", "max_connections: "},
		"a proxy":         {minimal + "via = \"proxy\"\n", `got it for a service of type "web", which does not have this key`},
		"its own port":    {instead("10025", "2525"), "got 2525, the port of the program itself"},
		"a service's":     {another(serviceText("two", ":10025", "web")), `listen: expected host:port or :port in quotes`},
		"an earlier one":  {strings.Replace(behindProxy, "10025", "8080", 1), "via_port: expected a free TCP port of this host, from 1 to 65535, together with via = \"proxy\", got 8080, which service web already uses"},
		"in a range":      {another(serviceText("two", ":10000-10100", "firewall")), "of which service mail has port 10025 as its via_port"},
		"another's":       {another(serviceText("two", ":26", "firewall") + "bind = \"connection\"\nvia = \"proxy\"\nvia_port = 10025\n"), "got 10025, which service mail already uses"},
		"an upstream":     {another(serviceText("two", ":26", "proxy") + "upstream = \"127.0.0.1:10025\"\n"), "got \"127.0.0.1:10025\", the via_port of service mail"},
		"an upstream, v6": {another(serviceText("two", ":26", "proxy") + "upstream = \"[::1]:10025\"\n"), "the via_port of service mail"},
		"a program's": {another(serviceText("two", ":26", "process") + "upstream = \"127.0.0.1:10025\"\nprogram = [\"/bin/true\"]\nprogram_user = \"nobody\"\n"),
			"which is a port of service mail"},
		"answers": {another("[challenge]\ntransport = \"tcp\"\nanswer_port = 10025\n" + anExchange), "got 10025, which is a port of service mail"},
		"an operation's port": {another("[challenge]\n[[operation]]\nid = \"open-mail\"\nsecret = \"s\"\nservice = \"mail\"\nclient = \"com1\"\nport = \"random\"\n"),
			`which has bind = "connection"`},
		"an operation's client": {another("[challenge]\n[[operation]]\nid = \"open-mail\"\nsecret = \"s\"\nservice = \"mail\"\n"), `which has bind = "connection"`},
	} {
		_, err := Parse("c.toml", []byte(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
	for name, text := range map[string]string{
		"UDP at the same port": another(serviceText("two", ":10025", "proxy") + "protocol = \"udp\"\nupstream = \"127.0.0.1:53\"\n"),
		"to anyone":            with("open_to = \"anyone\""),
		"of prefixes":          with("grant_prefix4 = 24\ngrant_prefix6 = 64"),
		"no answer":            with("policy = \"reject\""),
	} {
		if _, err := Parse("c.toml", []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const anExchange = "[[operation]]\nid = \"open-web\"\nsecret = \"s\"\nservice = \"web\"\n"

// TestViaIsNotDrawn: the port of a proxy is no drawn port of a service whose port rotates.
func TestViaIsNotDrawn(t *testing.T) {
	c, err := Parse("c.toml", []byte(rotatingWeb+serviceText("mail", ":2525", "firewall")+"bind = \"connection\"\nvia = \"proxy\"\nvia_port = 10025\n"))
	if err != nil {
		t.Fatal(err)
	}
	if access.AnyHas(c.Services[0].drawnRanges(), 10025) || !access.AnyHas(c.Services[0].drawnRanges(), 10026) {
		t.Errorf("drawn: %v", c.Services[0].drawnRanges())
	}
}
