package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/profile"
	"sallyport/sessions/gate"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// files writes files into a new directory, readable by their owner only.
func files(t *testing.T, texts map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestReference: the documentation is a valid configuration, and what it says
// of defaults is so.
func TestReference(t *testing.T) {
	reference, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	load := func(text string) config {
		dir := files(t, map[string]string{"c.toml": text, "port_secret": "sécret\n", "port_secret.previous": "before\n", "clients.txt": "com1 s 0\n", "ssh-alice.secret": "alice\n"})
		text = strings.ReplaceAll(text, "/srv/www", dir)
		if err := os.WriteFile(filepath.Join(dir, "c.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := loadConfig(filepath.Join(dir, "c.toml"))
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[*string]string{&cfg.path: "c.toml", &cfg.clientsPath: "clients.txt", &cfg.portSecretPath: "port_secret", &cfg.adminSocket: "sallyportd.sock", &cfg.stateDir: "state"} {
			if *path != filepath.Join(dir, want) {
				t.Errorf("%s, want %s", *path, want)
			}
			*path = ""
		}
		cfg.clientsState = fileState{}
		return cfg
	}
	cfg := load(string(reference))
	want := config{
		ports: 3, generator: schedule.Algorithm1, portSecret: "sécret", tolerance: time.Minute,
		clients: []registered{{identifier: wire.Identifier([]byte("com1")), secret: []byte("s")}},
		services: []serviceConfig{{
			name: "web", kind: "web", listen: "[::]:8080", prefixLen6: 128, connections: 64,
			terms: gate.Terms{OpenFor: 10 * time.Second, OpenMax: time.Minute, Cut: true, Addresses: 8},
		}},
		buffer: 1 << 20,
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	// With every default written out, nothing changes but what has no
	// written default.
	var spelled []string
	for line := range strings.Lines(string(reference)) {
		if key, _, ok := strings.Cut(strings.TrimPrefix(line, "# "), " = "); ok && strings.HasPrefix(line, "# ") && !strings.Contains(key, " ") && !strings.HasSuffix(line, "\"…\"\n") {
			line = strings.TrimPrefix(line, "# ")
		}
		if strings.HasPrefix(line, "# [") {
			line = strings.TrimPrefix(line, "# ")
		}
		spelled = append(spelled, line)
	}
	cfg = load(strings.Join(spelled, ""))
	web := &cfg.services[0]
	for key, path := range map[string]*string{"root": &web.root, "tls_cert": &web.tlsCert, "tls_key": &web.tlsKey} {
		if *path == "" {
			t.Errorf("%s is not in the reference", key)
		}
		*path = ""
	}
	want.listen, want.user, want.stealthExcept = []netip.Addr{netip.IPv6Unspecified()}, "sallyport", []uint16{51820}
	minute := gate.Terms{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 8}
	half := minute
	half.OpenFor = 30 * time.Second
	want.services = append(want.services,
		serviceConfig{name: "site", kind: "proxy", listen: "[::]:8443", upstream: "10.0.0.5:443", prefixLen6: 128, connections: 64, terms: minute},
		serviceConfig{name: "ssh", kind: "firewall", listen: ":22", prefixLen6: 128, connections: 64, terms: half})
	want.server, want.previous = "gate.example.org", previousSecret{"before", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)}
	ranges := challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8, Restart: 20}
	want.challenge = &challengeConfig{
		plan:    challenge.Plan{Request: ranges, Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8}, Ports: challenge.Ports{First: 16384, Last: 30719}},
		public4: netip.MustParseAddr("203.0.113.5"), slots: 16384, rate: 20000,
	}
	want.operations = []operationConfig{{
		id: "ssh-alice-", secret: "alice", algorithm: exchange.NATAware, service: 2, openFor: 30 * time.Second,
		client: "com1", from: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("spelled out:\ngot  %+v\nwant %+v", cfg, want)
	}
	// Every key there is stands in it.
	for _, typ := range []reflect.Type{reflect.TypeFor[file](), reflect.TypeFor[fileService](), reflect.TypeFor[fileChallenge](), reflect.TypeFor[profile.Encoding](), reflect.TypeFor[fileOperation]()} {
		for i := range typ.NumField() {
			if key, _, _ := strings.Cut(typ.Field(i).Tag.Get("toml"), ","); !strings.Contains(string(reference), "\n"+key+" = ") && !strings.Contains(string(reference), "\n# "+key+" = ") && !strings.Contains(string(reference), "(with "+key+")") && !strings.Contains(string(reference), "["+key+"]") && !strings.Contains(string(reference), "[challenge."+key+"]") {
				t.Errorf("%s is not in the reference", key)
			}
		}
	}
}

const minimal = `ports = 3
port_secret = "hunter2"
clients = "clients.txt"
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
`

// second is one more service.
func second(name, listen, kind string) string {
	return fmt.Sprintf("[[service]]\nname = %q\nlisten = %q\ntype = %q\n", name, listen, kind)
}

func TestConfigRefuses(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(minimal, old, new, 1) }
	before := func(line string) string { return line + "\n" + minimal }
	for text, want := range map[string]string{
		before("version = 2"):                                       "c.toml:1: version: expected 1, the version of this form, got 2",
		before(`listen = ["localhost"]`):                            `c.toml:1: listen: expected a list of IP addresses in quotes`,
		before(`listen = "::"`):                                     `c.toml:1: listen: expected a list`,
		before(`listen = ["::1", "ff02::1"]`):                       `c.toml:1: listen: expected a list of IP addresses in quotes, such as ["0.0.0.0", "::"], got "ff02::1" in place 2, which is a group's`,
		before(`listen = ["fe80::1"]`):                              `got "fe80::1" in place 1, which needs its interface behind it, such as fe80::1%eth0`,
		replace("ports = 3", "ports = 0"):                           "c.toml:1: ports: expected the number of knocks, a whole number from 1 to 128, got 0",
		replace("ports = 3", "ports = 129"):                         "c.toml:1: ports: ",
		replace("ports = 3", ""):                                    "ports: expected the number of knocks, a whole number from 1 to 128, got nothing",
		before(`generator = "pcg"`):                                 `c.toml:1: generator: expected "algorithm1" or "java", got "pcg"`,
		before(`port_secret_file = "x"`):                            "c.toml:1: port_secret_file: ",
		replace(`port_secret = "hunter2"`, ""):                      "port_secret: expected the secret",
		replace(`clients = "clients.txt"`, ""):                      "clients: expected the path of the clients file, got nothing",
		replace(`clients.txt`, "none.txt"):                          "none.txt: no such file",
		before(`clock_tolerance = "4s"`):                            `c.toml:1: clock_tolerance: expected a duration from "5s" to "60s" in whole seconds, got "4s"`,
		before(`clock_tolerance = "61s"`):                           "c.toml:1: clock_tolerance: ",
		before(`clock_tolerance = "5500ms"`):                        "c.toml:1: clock_tolerance: ",
		before(`clock_tolerance = 60`):                              "c.toml:1: clock_tolerance: ",
		before(`clock_tolerance = "soon"`):                          "c.toml:1: clock_tolerance: ",
		before(`port_secret_previous = "hunter2"`):                  "port_secret_previous_until: expected a time such as 2026-12-01T00:00:00Z, together with the previous port secret, got one without the other",
		before("port_secret_previous_until = 2026-12-01T00:00:00Z"): "c.toml:1: port_secret_previous_until: ",
		before(`port_secret_previous_until = "soon"`):               "c.toml:1: port_secret_previous_until: expected a time such as",
		before(`state_dir = ""`):                                    "c.toml:1: state_dir: ",
		before(`receive_buffer = 100`):                              "c.toml:1: receive_buffer: ",
		before(`kernel_filter = "yes"`):                             "c.toml:1: kernel_filter: expected true or false",
		before(`durability = "hopeful"`):                            "c.toml:1: durability: expected \"strict\" or \"relaxed\"",
		before(`admin_socket = ""`):                                 "c.toml:1: admin_socket: ",
		before(`readers = 65`):                                      "c.toml:1: readers: ",
		before(`port = 3`):                                          `c.toml:1: port: "port" is not known here; expected one of version, server, listen, ports`,
		replace("[[service]]", "[[service]]\ncolour=3"):             `c.toml:5: service.colour: "colour" is not known here; expected one of name, type`,
		minimal[:strings.Index(minimal, "[[")]:                      "c.toml:3: service: expected a [[service]] table for each service, 1 to 64, got 0",
		minimal + "[[service]]\nname = \"two\"\n":                   `service.1.type: expected "web", "proxy" or "firewall", got ""`,
		minimal + second("web", ":81", "firewall"):                  `c.toml:9: service.1.name: expected a name of letters, digits, dots, hyphens and underscores, in quotes, got "web" a second time`,
		minimal + second("two", ":8080", "firewall"):                `c.toml:10: service.1.listen: expected host:port or :port, with an IP address for a host, got ":8080", which service web has already`,
		minimal + second("two", ":81", "proxy"):                     `service.1.upstream: expected host:port, to which connections are carried, got ""`,
		minimal + second("two", ":81", "firewall") + `root = "/x"`:  `c.toml:12: service.1.root: expected the path of a directory, got it for a service of type "firewall", which has no such key`,
		minimal + `policy = "drop"`:                                 `c.toml:8: service.0.policy: `,
		minimal + `protocol = "udp"`:                                `c.toml:8: service.0.protocol: `,
		minimal + `protocol = "icmp"`:                               `c.toml:8: service.0.protocol: `,
		minimal + `on_close = "maybe"`:                              `c.toml:8: service.0.on_close: expected "keep" or "cut", got "maybe"`,
		minimal + `look = "open"`:                                   `c.toml:8: service.0.look: `,
		minimal + `max_addresses = 0`:                               `c.toml:8: service.0.max_addresses: `,
		minimal + `max_connections = 5000`:                          `c.toml:8: service.0.max_connections: `,
		minimal + `grant_prefix6 = 48`:                              `c.toml:8: service.0.grant_prefix6: expected 128 or 64, got 48`,
		minimal + `tls_cert = "x"`:                                  `service.0.tls_key: expected the path of a PEM file with the certificate's key, together with tls_cert, got one without the other`,
		minimal + `root = ""`:                                       `c.toml:8: service.0.root: `,
		replace(`"web"`, `"my web"`):                                `c.toml:5: service.0.name: `,
		before("stealth_except = [53]"):                             `c.toml:1: stealth_except: expected a list of UDP ports from 1025 to 65535, got 53`,
		before(`on_exit = "open"`):                                  `c.toml:1: on_exit: `,
		minimal + second("two", ":81", "firewall") + `hook = "x"`:   `c.toml:12: service.1.hook: `,
		minimal + second("two", ":81", "firewall") + `policy = "x"`: `c.toml:12: service.1.policy: `,
		replace(`name = "web"`, ""):                                 "service.0.name: expected a name of letters, digits, dots, hyphens and underscores, in quotes, got \"\"",
		replace(`type = "web"`, `type = "ftp"`):                     `c.toml:6: service.0.type: expected "web", "proxy" or "firewall", got "ftp"`,
		replace(`127.0.0.1:8080`, `8080`):                           `c.toml:7: service.0.listen: expected host:port or :port, with an IP address for a host, got "8080"`,
		replace(`127.0.0.1:8080`, `www.example:8080`):               "c.toml:7: service.0.listen: ",
		replace(`127.0.0.1:8080`, `:99999`):                         "c.toml:7: service.0.listen: ",
		replace(`127.0.0.1:8080`, `[::ffff:224.0.0.1]:80`):          `got "[::ffff:224.0.0.1]:80": the address is a group's`,
		replace(`127.0.0.1:8080`, `255.255.255.255:80`):             `got "255.255.255.255:80": the address is everybody's`,
		replace(`127.0.0.1:8080`, `[fe80::1]:80`):                   `the address needs its interface behind it, such as fe80::1%eth0`,
		minimal + `open_for = "0s"`:                                 "c.toml:8: service.0.open_for: ",
		minimal + `open_for = 10`:                                   `c.toml:8: service.open_for: expected a duration such as "10s", at least a second`,
		minimal + "open_for = \"20s\"\nopen_max = \"10s\"":          `c.toml:9: service.0.open_max: expected a duration such as "1m", not shorter than open_for, 1000h at the most, got "10s"`,
		minimal + `open_to = "all"`:                                 `c.toml:8: service.0.open_to: expected "knocker" or "anyone", got "all"`,
		minimal + `root = "nowhere"`:                                `c.toml:8: service.0.root: expected the path of a directory`,
		minimal + `root = `:                                         "c.toml:8: ",
	} {
		dir := files(t, map[string]string{"c.toml": text, "clients.txt": "com1 hunter2 0\n"})
		_, err := loadConfig(filepath.Join(dir, "c.toml"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret in %v", err)
		}
	}
}

// TestUpstreams: what leads back to itself would carry its own connections
// until there is no more room for them.
func TestUpstreams(t *testing.T) {
	proxy := func(name, listen, upstream string) serviceConfig {
		return serviceConfig{name: name, kind: "proxy", listen: listen, upstream: upstream}
	}
	udp := func(s serviceConfig) serviceConfig { s.udp = true; return s }
	for _, row := range []struct {
		services []serviceConfig
		way      string // from the first one's upstream back to it
	}{
		{[]serviceConfig{proxy("a", ":5432", "127.0.0.1:5432")}, "a"},
		{[]serviceConfig{proxy("a", ":5432", "127.0.0.2:5432")}, "a"},
		{[]serviceConfig{proxy("a", ":5432", "[::1]:5432")}, "a"},
		{[]serviceConfig{proxy("a", ":5432", "0.0.0.0:5432")}, "a"},
		{[]serviceConfig{proxy("a", ":5432", "LocalHost:5432")}, "a"},
		{[]serviceConfig{proxy("a", "127.0.0.1:5432", "0.0.0.0:5432")}, "a"},
		{[]serviceConfig{proxy("a", "[::1]:5432", "[::]:5432")}, "a"},
		{[]serviceConfig{proxy("a", "192.0.2.1:5432", "[::ffff:192.0.2.1]:5432")}, "a"},
		{[]serviceConfig{udp(proxy("a", ":53", "127.0.0.1:53"))}, "a"},
		{[]serviceConfig{proxy("a", ":1", "127.0.0.1:2"), proxy("b", ":2", "localhost:3"), proxy("c", ":3", "127.0.0.1:1")}, "b c a"},
		// One name may be two services.
		{[]serviceConfig{proxy("a", ":1", "localhost:2"), proxy("b", "127.0.0.1:2", "10.0.0.5:1"), proxy("c", "[::1]:2", "127.0.0.1:1")}, "c a"},

		{[]serviceConfig{proxy("a", ":5432", "127.0.0.1:5433")}, ""},
		{[]serviceConfig{proxy("a", ":5432", "10.0.0.5:5432")}, ""},
		{[]serviceConfig{proxy("a", ":5432", "db.example.org:5432")}, ""},
		{[]serviceConfig{proxy("a", "192.0.2.1:5432", "localhost:5432")}, ""},
		{[]serviceConfig{proxy("a", "192.0.2.1:5432", "0.0.0.0:5432")}, ""},
		{[]serviceConfig{proxy("a", "0.0.0.0:5432", "[::1]:5432")}, ""},
		{[]serviceConfig{proxy("a", ":53", "127.0.0.1:54"), udp(proxy("b", ":54", "127.0.0.1:53"))}, ""},
		{[]serviceConfig{proxy("a", ":1", "127.0.0.1:2"), {name: "b", kind: "firewall", listen: ":2"}}, ""},
		// It leads into a circle, which others are to blame for.
		{[]serviceConfig{proxy("a", ":1", "127.0.0.1:2"), proxy("b", ":2", "127.0.0.1:3"), proxy("c", ":3", "127.0.0.1:2")}, ""},
	} {
		if way := strings.Join(circle(row.services, 0, 0, make([]bool, len(row.services))), " "); way != row.way {
			t.Errorf("%s at %s to %s: leads back by %q, want %q", row.services[0].name, row.services[0].listen, row.services[0].upstream, way, row.way)
		}
	}
}

func TestExposedSecretsAreRefused(t *testing.T) {
	withFile := strings.Replace(minimal, `port_secret = "hunter2"`, `port_secret_file = "ps"`, 1)
	for _, row := range []struct {
		text, exposed string
		want          bool
	}{
		{minimal, "c.toml", true},
		{withFile, "c.toml", false},
		{withFile, "ps", true},
		{minimal, "clients.txt", true},
	} {
		dir := files(t, map[string]string{"c.toml": row.text, "ps": "hunter2", "clients.txt": "com1 hunter2 0\n"})
		if err := os.Chmod(filepath.Join(dir, row.exposed), 0o640); err != nil {
			t.Fatal(err)
		}
		_, err := loadConfig(filepath.Join(dir, "c.toml"))
		if got := err != nil && strings.Contains(err.Error(), "others may read") && strings.Contains(err.Error(), row.exposed); got != row.want || !got && err != nil {
			t.Errorf("%s: %v", row.exposed, err)
		}
	}
}

func TestParseClients(t *testing.T) {
	lines, err := parseClients("clients.txt", strings.NewReader("# Listing 4\ncom1 com1_secret 0\r\n\n  com2\tsécret#2  14 \n#com3 off 5\ncom4 s 4294967295\n"+
		"com5 new 7 old=before until=2026-12-01T00:00:00Z note=Eve's laptop, the note=blue one\ncom6 s 0\tnote=x"))
	if err != nil {
		t.Fatal(err)
	}
	clients := clientsOf(lines)
	id := func(s string) wire.Identifier { return wire.Identifier([]byte(s)) }
	want := []registered{
		{identifier: id("com1"), secret: []byte("com1_secret")},
		{identifier: id("com2"), secret: []byte("sécret#2"), mark: 14},
		{identifier: id("com4"), secret: []byte("s"), mark: 1<<32 - 1},
		{identifier: id("com5"), secret: []byte("new"), mark: 7, previous: []byte("before"), until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), note: "Eve's laptop, the note=blue one"},
		{identifier: id("com6"), secret: []byte("s"), note: "x"},
	}
	if !reflect.DeepEqual(clients, want) {
		t.Errorf("got %+v", clients)
	}
}

func TestParseClientsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"com1 hunter2":                        "clients.txt:1: expected identifier, secret and nonce, divided by spaces; got 2 columns",
		"com1 hunter2 0 web":                  "clients.txt:1: column 4: expected old=SECRET, until=TIME, services=NAME,NAME or note=TEXT, each once",
		"com1 hunter2 0 services=a, hunter2":  "clients.txt:1: no space may stand between the names after services=: write services=web,ssh",
		"com1 hunter2 0 services=a ,b c":      "clients.txt:1: no space may stand",
		"com1 hunter2 0 services= a":          "clients.txt:1: no space may stand",
		"com1 hunter2 0 services=":            "clients.txt:1: expected services= once, and names divided by commas after it, such as services=web,ssh",
		"com1 hunter2 0 services=a,":          "clients.txt:1: expected services= once",
		"com1 hunter2 0 services=a services=": "clients.txt:1: expected services= once",
		"com1 hunter2 0 services=a x=b c":     "clients.txt:1: column 5: expected old=SECRET",
		"com1 hunter2 0 old=hunter2":          "clients.txt:1: expected old= and until= together",
		"com1 hunter2 0 until=soon":           "clients.txt:1: column 4: expected until= and a time such as",
		"com1 h 0 old=hunter2 old=hunter2":    "clients.txt:1: column 5: ",
		"\nhunter2 com1 0":                    "clients.txt:2: an identifier is 4 printable ASCII characters; this is 7 bytes long",
		"cöm hunter2 0":                       "clients.txt:1: an identifier is 4 printable ASCII characters; this holds others",
		"com1 hunter2 0\n# c\ncom1 hunter2 1": "clients.txt:3: identifier com1 stands in line 1 already; expected each one once",
		"com1 hunter2 4294967296":             "clients.txt:1: expected a nonce from 0 to 4294967295 in the third column",
		"com1 hunter2 -1":                     "clients.txt:1: expected a nonce",
		"com1 0 hunter2":                      "clients.txt:1: expected a nonce",
		"com1 hunter2\xff 0":                  "clients.txt:1: expected UTF-8 text",
		strings.Repeat("x", 70_000):           "clients.txt:1: ",
	} {
		_, err := parseClients("clients.txt", strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret in %v", err)
		}
	}
}

func FuzzParseClients(f *testing.F) {
	f.Add("com1 com1_secret 0\n# x\ncom2 com2_secret 14\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseClients("clients.txt", strings.NewReader(text))
		if err != nil {
			return
		}
		seen := map[wire.Identifier]bool{}
		for _, c := range clientsOf(lines) {
			if again, err := parseClient(c.String()); err != nil || !reflect.DeepEqual(again, c) {
				t.Fatalf("%q: %+v became %+v, %v", text, c, again, err)
			}
			if seen[c.identifier] || !c.identifier.Valid() || len(c.secret) == 0 || strings.ContainsAny(string(c.secret), " \t\n") {
				t.Fatalf("%q: %+v", text, c)
			}
			seen[c.identifier] = true
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(minimal))
	if reference, err := os.ReadFile("reference.toml"); err == nil {
		f.Add(reference)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw, file, err := parseConfig("c.toml", data)
		if err != nil {
			return
		}
		cfg, err := raw.validate(file)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "c.toml:") {
				t.Fatalf("no position: %v", err)
			}
			return
		}
		if cfg.ports < 1 || cfg.ports > 128 || cfg.tolerance < 5*time.Second || cfg.tolerance > time.Minute {
			t.Fatalf("%+v", cfg)
		}
		for _, s := range cfg.services {
			if s.terms.OpenMax < s.terms.OpenFor || s.terms.Addresses < 1 || s.connections < 1 || s.port() == 0 || s.kind == "proxy" && s.upstream == "" {
				t.Fatalf("%+v", s)
			}
		}
	})
}
