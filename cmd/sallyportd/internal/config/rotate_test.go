package config

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

const rotatingWeb = `ports = 3
port_secret = "hunter2"
clients = "clients.txt"
[[service]]
name = "web"
type = "web"
listen = ":0"
port = "rotate"
rotate_except = [25565]
`

func TestRotate(t *testing.T) {
	c, err := Parse("c.toml", []byte(rotatingWeb+`[[service]]
name = "ssh"
type = "firewall"
listen = ":22022"
port = "rotate"
rotate_ports = "20000-29999"
[[service]]
name = "dns"
type = "proxy"
protocol = "udp"
listen = "127.0.0.1:0"
upstream = "127.0.0.1:53"
port = "rotate"
[[service]]
name = "games"
type = "firewall"
protocol = "udp"
listen = ":15000-15099"
[challenge]
[[operation]]
id = "close-web"
secret = "s"
service = "web"
action = "close"
[[operation]]
id = "random-web"
secret = "s"
service = "web"
port = "random"
`))
	if err != nil {
		t.Fatal(err)
	}
	web, ssh, dns := c.Service("web"), c.Service("ssh"), c.Service("dns")
	for name, row := range map[string]struct {
		s      *Service
		except []schedule.Range
	}{
		"web": {web, []schedule.Range{{First: 22022, Last: 22022}, {First: 25565, Last: 25565}}},
		"ssh": {ssh, []schedule.Range{{First: 22022, Last: 22022}}},
		"dns": {dns, []schedule.Range{{First: 15000, Last: 15099}, {First: 16384, Last: 30719}}}, // UDP, as the packets of exchanges
	} {
		if !row.s.Rotates() || !slices.Equal(row.s.Drawn().Except, row.except) {
			t.Errorf("%s: exceptions %v, want %v", name, row.s.Drawn().Except, row.except)
		}
		profile := row.s.ProfileRotation()
		if profile == nil || profile.Service != name || !slices.Equal(profile.Except, row.except) {
			t.Errorf("%s: the profile has %+v", name, profile)
		}
	}
	if web.ProfileService() != ":rotate" || dns.ProfileService() != ":rotate/udp" {
		t.Errorf("profiles have %s and %s", web.ProfileService(), dns.ProfileService())
	}
	if web.Ports() != nil || web.Port() != 0 || ssh.Port() != 22022 {
		t.Errorf("web: ports %v; ssh: port %d", web.Ports(), ssh.Port())
	}
	games, policy, table := c.Service("games"), c.Policy().Services, c.Firewall().Ports
	if games.Rotates() || games.ProfileRotation() != nil || policy[3].Drawn != nil || table[3].Drawn != nil {
		t.Error("a fixed port rotates")
	}
	want := []access.Ports{{First: 20000, Last: 22021}, {First: 22023, Last: 29999}}
	if !slices.Equal(table[1].Drawn, want) || table[1].Port != 22022 || !slices.Equal(policy[1].Drawn, want) {
		t.Errorf("the firewall has %+v", table[1])
	}
	if err := c.Firewall().Validate(); err != nil {
		t.Error(err)
	}
	if n := c.Needs(Host{FirstOpenPort: 1024}); n.LowPorts {
		t.Error("requires low ports")
	}
	if n := c.Needs(Host{FirstOpenPort: 32768}); !n.LowPorts {
		t.Error("a protected range requires no capability")
	}
}

// TestRotateStealthExcept: a reload of stealth_except changes which ports are drawn, and
// not what the holder of the firewall has read: that one and the next server agree.
func TestRotateStealthExcept(t *testing.T) {
	udp := strings.Replace(rotatingWeb, "type = \"web\"\n", "type = \"proxy\"\nprotocol = \"udp\"\nupstream = \"127.0.0.1:53\"\n", 1)
	before := must(Parse("c.toml", []byte("stealth = true\nstealth_except = [12000]\n"+udp)))
	after := must(Parse("c.toml", []byte("stealth = true\nstealth_except = [12001]\n"+udp)))
	if err := before.Changed(after, true); err != nil {
		t.Fatal(err)
	}
	if before.Digest() != after.Digest() {
		t.Error("the next server has another digest than the holder")
	}
	if d := after.Service("web").Drawn(); !d.Has(12000) || d.Has(12001) {
		t.Errorf("draws from %v", d)
	}
	for _, r := range after.Service("web").Drawn().Ranges() {
		for _, port := range []uint16{r.First, r.Last} {
			if !access.AnyHas(before.Policy().Services[0].Drawn, port) || !access.AnyHas(before.Firewall().Ports[0].Drawn, port) {
				t.Errorf("the holder refuses port %d", port)
			}
		}
	}
	if err := before.Firewall().Validate(); err != nil {
		t.Error(err)
	}
}

// TestRotateReload: a reload while drawn ports are open, of each type that this process
// serves.
func TestRotateReload(t *testing.T) {
	for _, kind := range []string{
		"type = \"web\"",
		"type = \"proxy\"\nupstream = \"127.0.0.1:9\"",
		"type = \"proxy\"\nprotocol = \"udp\"\nupstream = \"127.0.0.1:9\"",
	} {
		c := must(Parse("c.toml", []byte(strings.NewReplacer("type = \"web\"", kind, "\":0\"", "\"127.0.0.1:0\"").Replace(rotatingWeb))))
		s := c.Service("web")
		l := must(s.Live(Env{Clock: clock.System(), Log: slog.New(slog.DiscardHandler)}))
		if _, err := l.Rotation.Port(schedule.MinuteOf(time.Now()), 0); err != nil {
			t.Fatal(err)
		}
		must(l.Load(s))()
		if err := l.Rotation.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRotateDraws: the server draws what the profile of its client draws, by both port
// secrets.
func TestRotateDraws(t *testing.T) {
	text := strings.Replace(rotatingWeb, "clients =", "port_secret_previous = \"hunter1\"\nport_secret_previous_until = 2036-01-01T00:00:00Z\nclients =", 1)
	c, err := Parse("c.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Service("web")
	for _, secret := range []string{"hunter2", "hunter1"} {
		want, err := s.ProfileRotation().Ports(secret, "web", 29922120)
		got, err2 := s.Draw()(29922120, schedule.NameOf(secret))
		if err != nil || err2 != nil || got != want {
			t.Errorf("%s: drew %v (%v), the client %v (%v)", secret, got, err2, want, err)
		}
	}
	if both, _ := s.Draw()(29922120, 0); both != must(s.Draw()(29922120, schedule.NameOf("hunter2"))) {
		t.Error("a sequence of both port secrets has no port of the current one")
	}
	if ports, err := s.Draw()(29922120, schedule.NameOf("hunter3")); err == nil {
		t.Errorf("drew %v by an unknown port secret", ports)
	}
	at, err := s.BindAddresses(time.Unix(29922120*60, 0))
	if err != nil || len(at) != schedule.Candidates || !strings.HasPrefix(at[0], ":") {
		t.Errorf("binds %v (%v)", at, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestRotateRefuses(t *testing.T) {
	firewall := strings.Replace(strings.Replace(rotatingWeb, `"web"`+"\nlisten = \":0\"", `"firewall"`+"\nlisten = \":22\"", 1), "rotate_except = [25565]\n", "", 1)
	for name, row := range map[string]struct{ text, want string }{
		"a port":           {strings.Replace(rotatingWeb, ":0", ":8080", 1), "service 1: listen: "},
		"port 0, fixed":    {strings.Replace(strings.Replace(rotatingWeb, "port = \"rotate\"\n", "", 1), "rotate_except = [25565]\n", "", 1), "only a service with port = \"rotate\" has port 0"},
		"range, fixed":     {strings.Replace(rotatingWeb, "port = \"rotate\"\n", "rotate_ports = \"2000-3000\"\n", 1), "rotate_ports: "},
		"except, fixed":    {strings.Replace(rotatingWeb, "port = \"rotate\"\n", "", 1), "rotate_except: "},
		"no range":         {rotatingWeb + "rotate_ports = \"many\"\n", "rotate_ports: "},
		"low range":        {rotatingWeb + "rotate_ports = \"1000-2000\"\n", "rotate_ports: "},
		"three ports":      {rotatingWeb + "rotate_ports = \"20000-20002\"\n", "leaves 3 to draw from; at least 4 are required"},
		"three are left":   {strings.Replace(rotatingWeb, "[25565]", "[20003]", 1) + "rotate_ports = \"20000-20003\"\n", "leaves 3 to draw from"},
		"anyone":           {rotatingWeb + "open_to = \"anyone\"\n", "requires open_to = \"knocker\""},
		"addresses":        {rotatingWeb + "max_addresses = 65\n", "requires max_addresses of at most 64"},
		"firewall, port 0": {strings.Replace(firewall, ":22", ":0", 1), "which this key must name"},
		"firewall, ports":  {strings.Replace(firewall, ":22", ":22-23", 1), "lead to one port"},
		"isn":              {firewall + "bind = \"isn\"\n", "bind = \"address\""},
		"hook":             {firewall + "hook = \"input\"\n", "hook: "},
		"an operation": {rotatingWeb + "[challenge]\n[[operation]]\nid = \"open-web\"\nsecret = \"s\"\nservice = \"web\"\n",
			"an exchange has no minute"},
		"few for UDP": {strings.NewReplacer(`"web"`+"\nlisten", `"proxy"`+"\nprotocol = \"udp\"\nupstream = \"127.0.0.1:53\"\nlisten").Replace(rotatingWeb) + "rotate_ports = \"20000-20011\"\n",
			"at least 13 are required"},
	} {
		_, err := Parse("c.toml", []byte(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
}
