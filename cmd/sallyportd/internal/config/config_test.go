package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/secretfile"
	"sallyport/ingest/udp"
	carriers "sallyport/ingest/web"
	"sallyport/sessions/client"
	"sallyport/sessions/fleet/cluster"
	fleetrelay "sallyport/sessions/fleet/relay"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/program"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// files writes files into a new directory. Only their owner can read them.
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

// TestReference: the reference is a valid configuration, and its defaults are those
// of the code.
func TestReference(t *testing.T) {
	load := func(text string) Config {
		t.Helper()
		dir := files(t, map[string]string{"c.toml": "", "port_secret": "sécret\n", "port_secret.previous": "before\n", "ssh-alice.secret": "alice\n", "host.key": testHostKey + "\n", "etcd.password": "swordfish\n", "relay.key": testRelayKey + "\n"})
		path := filepath.Join(dir, "c.toml")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/srv/www", t.TempDir())), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path, Secrets)
		if err != nil {
			t.Fatal(err)
		}
		c := *cfg
		for path, want := range map[*string]string{
			&c.Path: "c.toml", &c.ClientsPath: "clients.txt", &c.PortSecret.Path: "port_secret",
			&c.AdminSocket: "sallyportd.sock", &c.FirewallSocket: "firewall.sock", &c.StateDir: "state",
		} {
			if *path != filepath.Join(dir, want) {
				t.Errorf("%s, want %s", *path, want)
			}
			*path = ""
		}
		c.file, c.fixed, c.keys, c.opened = nil, nil, nil, opened{}
		if c.Fleet != nil {
			f := *c.Fleet
			for path, want := range map[*string]string{&f.Etcd.CA: "etcd-ca.pem", &f.Etcd.Certificate: "etcd.pem", &f.Etcd.Key: "etcd.key"} {
				if *path != filepath.Join(dir, want) {
					t.Errorf("%s, want %s", *path, want)
				}
				*path = ""
			}
			c.Fleet = &f
		}
		if ch := c.Challenge; ch != nil {
			if ch.HostKey.Secret() != testHostKey {
				t.Errorf("the host key is %s", ch.HostKey)
			}
			ch.HostKey, ch.hostKeyFile = nil, ""
		}
		return c
	}
	got := load(Reference)
	want := Config{
		Ports: 3, Generator: schedule.Algorithm1, PortSecret: PortSecret{Current: "sécret"}, Tolerance: time.Minute,
		Services: []Service{{
			Name: "web", Type: "web", kind: web{}, Listen: "[::]:8080", PrefixLen4: 32, PrefixLen6: 128, Connections: 64,
			Policy: gate.LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Cut: true, Addresses: 8},
		}},
		ReceiveBuffer: 1 << 20, Queue: 4096, KernelFilter: true, SelfTest: true, ResumeLeases: true, ClientsSettle: 5 * time.Second, LogFormat: "auto",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// With every commented key in force, only keys without a default change.
	got = load(uncommented())
	if w := got.Services[0].kind.(web); w.root == "" || w.cert == "" || w.key == "" {
		t.Errorf("the web server's files are not in the reference: %+v", w)
	}
	got.Services[0].kind = web{}
	want.Listen, want.User, want.StealthExcept = udp.Addresses{netip.IPv6Unspecified()}, "sallyport", []uint16{51820}
	minute := gate.LeasePolicy{OpenFor: 10 * time.Second, OpenMax: time.Minute, Addresses: 8}
	cut := minute
	cut.Cut = true
	command := func(role program.Role, args ...string) program.Program {
		return program.Program{
			ID: program.ID{Service: "ban-exception", Role: role}, User: "ban", Args: args, Dir: "/",
			StopAfter: 5 * time.Second, TimeLimit: 10 * time.Second, Limits: program.Limits{Files: 1024},
		}
	}
	half := minute
	half.OpenFor = 30 * time.Second
	want.Services = append(want.Services,
		Service{Name: "site", Type: "proxy", kind: proxy{to: "10.0.0.5:443"}, Listen: "[::]:8443", PrefixLen4: 32, PrefixLen6: 128, Connections: 64, Policy: minute},
		Service{Name: "ssh", Type: "firewall", kind: guarded{jump: "ssh-rules", allow: firewall.Trusted{
			Networks: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}, Interfaces: []string{"docker0"},
		}}, Listen: ":22", PrefixLen4: 32, PrefixLen6: 128, Connections: 64, Policy: half},
		Service{Name: "mail", Type: "firewall", kind: guarded{via: 10025}, Proves: true, Listen: ":8025", PrefixLen4: 32, PrefixLen6: 128, Connections: 64, Policy: minute},
		Service{Name: "wiki", Type: "process", kind: process{to: "127.0.0.1:8081", within: 10 * time.Second}, Listen: "[::]:8444", PrefixLen4: 32, PrefixLen6: 128, Connections: 64,
			Policy: cut, programs: []program.Program{{
				ID: program.ID{Service: "wiki", Role: program.Server}, User: "wiki",
				Args: []string{"/usr/sbin/nginx", "-c", "/etc/wiki/nginx.conf", "-g", "daemon off;"},
				Dir:  "/", Env: []string{"LANG=C.UTF-8"}, StopAfter: 5 * time.Second, Limits: program.Limits{Files: 1024},
			}}},
		Service{Name: "ban-exception", Type: "command", kind: commandsOnly{}, PrefixLen4: 32, PrefixLen6: 128, Connections: 64, Policy: minute, programs: []program.Program{
			command(program.OnOpen, "/usr/local/bin/ban-exception", "add"), command(program.OnClose, "/usr/local/bin/ban-exception", "del"),
		}})
	want.Server, want.MetricsListen = "gate.example.org", netip.MustParseAddrPort("127.0.0.1:9464")
	want.PortSecret.Previous, want.PortSecret.Until = "before", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	ranges := challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8, Restart: 20}
	want.Challenge = &Challenge{
		Plan: challenge.Plan{
			Request: ranges, Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
			Ports: challenge.Ports{First: 16384, Last: 30719},
		},
		Public4: netip.MustParseAddr("203.0.113.5"), Exchanges: 16384, Rate: 20000,
		HTTP: []HTTP{{
			Listen: ":443", Host: "www.example.org", Connections: 1024, root: got.Challenge.HTTP[0].root,
			cert: got.Challenge.HTTP[0].cert, key: got.Challenge.HTTP[0].key,
			Pages: got.Challenge.HTTP[0].Pages, files: secretfile.Rules{User: "sallyport"},
			Proxies: carriers.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Header: carriers.XForwardedFor}, ProxyUser: "www-data",
		}},
		DNS: &DNS{
			Listen: ":53", Zone: carriers.Zone{Name: "k.example.org", Servers: []string{"ns1.example.org"}},
			Amplification: carriers.DefaultAmplification, Answers: carriers.DefaultAnswers,
		},
	}
	want.SecretFiles.User = "sallyport"
	want.Operations = []Operation{{
		ID: "ssh-alice-", Secret: "alice", Algorithm: exchange.NATAware, Service: "ssh", OpenFor: 30 * time.Second, Uses: 1,
		Client: "com1", From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}}
	relayKey := must(fleetrelay.ParseKey(testRelayKey))
	want.Fleet = &Fleet{Name: "gateway1", Relay: &Relay{Rate: 20_000, Key: relayKey, keyFile: "relay.key", Gateways: map[string]netip.AddrPort{
		"gateway1": netip.MustParseAddrPort("10.0.0.1:1024"), "gateway2": netip.MustParseAddrPort("10.0.0.2:1024"),
	}}, Named: []client.Gateway{
		{Name: "gateway1", Server: "gw1.example.org"}, {Name: "gateway2", Server: "gw2.example.org"},
	}, passwordFile: "etcd.password", Etcd: cluster.Config{
		Endpoints: []string{"https://etcd1.example:2379"}, User: "gateway1", Password: "swordfish", Prefix: cluster.DefaultPrefix, Timeout: cluster.DefaultTimeout,
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("uncommented:\ngot  %+v\nwant %+v", got, want)
	}
}

// uncommented is the reference with every commented key in force.
func uncommented() string {
	var lines []string
	for line := range strings.Lines(Reference) {
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

const minimal = `ports = 3
port_secret = "hunter2"
clients = "clients.txt"
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
`

// serviceText is the text of a [[service]].
func serviceText(name, listen, kind string) string {
	return fmt.Sprintf("[[service]]\nname = %q\nlisten = %q\ntype = %q\n", name, listen, kind)
}

// listing is the text of a [[service]] of type firewall.
func listing(name, listen string) string {
	return fmt.Sprintf("[[service]]\nname = %q\nlisten = %s\ntype = \"firewall\"\n", name, listen)
}

func allowing(list string) string { return listing("two", `":81"`) + "allow = [" + list + "]\n" }

func TestConfigRefuses(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(minimal, old, new, 1) }
	before := func(line string) string { return line + "\n" + minimal }
	for text, want := range map[string]string{
		before("version = 2"):                                       "c.toml:1: version: expected 1, the version of this file format, got 2",
		before(`listen = ["local host"]`):                           `c.toml:1: listen: expected a list of IP addresses or host names in quotes, such as ["0.0.0.0", "::"], got "local host" (entry 1), which is neither`,
		before(`listen = ["10.0.0.300"]`):                           `got "10.0.0.300" (entry 1), which is neither`,
		before(`listen = "::"`):                                     `c.toml:1: listen: expected a list`,
		before(`listen = ["::1", "ff02::1"]`):                       `c.toml:1: listen: expected a list of IP addresses or host names in quotes, such as ["0.0.0.0", "::"], got "ff02::1" (entry 2), a multicast address`,
		before(`listen = ["fe80::1"]`):                              `got "fe80::1" (entry 1), a link-local address without its interface, such as fe80::1%eth0`,
		replace("ports = 3", "ports = 0"):                           "c.toml:1: ports: expected the number of knocks, a whole number from 1 to 128, got 0",
		replace("ports = 3", "ports = 129"):                         "c.toml:1: ports: ",
		replace("ports = 3", ""):                                    "ports: expected the number of knocks, a whole number from 1 to 128, got nothing",
		before(`generator = "pcg"`):                                 `c.toml:1: generator: expected "algorithm1" or "java", got "pcg"`,
		before(`port_secret_file = "x"`):                            "c.toml:1: port_secret_file: ",
		replace(`port_secret = "hunter2"`, ""):                      "port_secret: expected the secret",
		replace(`clients = "clients.txt"`, ""):                      "clients: expected the path of the clients file, or \"fleet\", got nothing",
		before(`clock_tolerance = "4s"`):                            `c.toml:1: clock_tolerance: expected a duration from "5s" to "60s" in whole seconds, got "4s"`,
		before(`clock_tolerance = "61s"`):                           "c.toml:1: clock_tolerance: ",
		before(`clock_tolerance = "5500ms"`):                        "c.toml:1: clock_tolerance: ",
		before(`clock_tolerance = 60`):                              "c.toml:1: clock_tolerance: ",
		before(`clock_tolerance = "soon"`):                          "c.toml:1: clock_tolerance: ",
		before(`port_secret_previous = "hunter2"`):                  "port_secret_previous_until: expected a time such as 2026-12-01T00:00:00Z, together with a previous port secret, got one without the other",
		before("port_secret_previous_until = 2026-12-01T00:00:00Z"): "c.toml:1: port_secret_previous_until: ",
		before(`port_secret_previous_until = "soon"`):               "c.toml:1: port_secret_previous_until: expected a time such as",
		before(`state_dir = ""`):                                    "c.toml:1: state_dir: ",
		before(`receive_buffer = 100`):                              "c.toml:1: receive_buffer: ",
		before(`kernel_filter = "yes"`):                             "c.toml:1: kernel_filter: expected true or false",
		before(`durability = "hopeful"`):                            "c.toml:1: durability: expected \"strict\" or \"relaxed\"",
		before(`admin_socket = ""`):                                 "c.toml:1: admin_socket: ",
		before(`metrics_listen = ""`):                               "c.toml:1: metrics_listen: expected an address of the loopback with a port in quotes, such as \"127.0.0.1:9464\", got nothing",
		before(`metrics_listen = ":9464"`):                          `metrics_listen: expected an address of the loopback with a port in quotes, such as "127.0.0.1:9464", got ":9464"`,
		before(`metrics_listen = "localhost:9464"`):                 `got "localhost:9464"`,
		before(`metrics_listen = "0.0.0.0:9464"`):                   `got "0.0.0.0:9464", which is no address of the loopback`,
		before(`metrics_listen = "[::]:9464"`):                      `got "[::]:9464", which is no address of the loopback`,
		before(`metrics_listen = "192.0.2.1:9464"`):                 `got "192.0.2.1:9464", which is no address of the loopback`,
		before(`metrics_listen = "[::1%lo]:9464"`):                  `got "[::1%lo]:9464", which is no address of the loopback`,
		before(`metrics_listen = "[::ffff:127.0.0.1]:9464"`):        `got "[::ffff:127.0.0.1]:9464", which is no address of the loopback`,
		before(`metrics_listen = "127.0.0.1:80"`):                   `got "127.0.0.1:80", with a port below 1024`,
		before(`metrics_listen = "127.0.0.2:8080"`):                 `got "127.0.0.2:8080", with a port of service web`,
		before(`queue = 511`):                                       "c.toml:1: queue: expected how many datagrams of each thread may wait for the checks, a whole number from 512 to 262144, got 511",
		before(`queue = 262145`):                                    "c.toml:1: queue: ",
		before(`readers = 65`):                                      "c.toml:1: readers: ",
		before(`port = 3`):                                          `c.toml:1: port: unknown key "port"; did you mean ports?`,
		replace("[[service]]", "[[service]]\ncolour=3"):             `c.toml:5: service 1: colour: unknown key "colour"; expected one of name, type, protocol, listen, open_for, open_max, open_to, connections, max_addresses, grant_prefix4, grant_prefix6, spread, gateways, port, rotate_ports, rotate_except, look, max_connections, root, tls_cert, tls_key, upstream, proxy_protocol, hook, policy, bind, via, via_port, jump, allow, program, program_user, start_within, on_open, on_close, command_user, command_limit, stop_after, program_dir, program_env, max_memory, max_files, max_processes`,
		minimal[:strings.Index(minimal, "[[")]:                      "c.toml: service: expected a [[service]] table for each service, 1 to 64, got 0",
		minimal + "[[service]]\nname = \"two\"\n":                   `service 2: type: expected "web", "proxy", "firewall", "process" or "command", got nothing`,
		minimal + serviceText("web", ":81", "firewall"):             `c.toml:9: service 2: name: expected a name of letters, digits, dots, hyphens and underscores, in quotes, got "web", the name of another service`,
		minimal + serviceText("two", ":8080", "firewall"):           `c.toml:10: service 2: listen: expected host:port or :port in quotes, such as ":22", with an IP address as the host; for type "firewall" also a range such as ":60000-61000", or a list, got ":8080", which service web already uses`,
		minimal + serviceText("two", ":8000-9000", "firewall"):      `got ":8000-9000" for service two, which shares ports with "127.0.0.1:8080" of service web`,
		minimal + serviceText("two", ":81-80", "firewall"):          `got ":81-80", which is not a range of ports such as ":60000-61000"`,
		minimal + serviceText("two", ":0-80", "firewall"):           `service 2: listen: `,
		minimal + serviceText("two", ":80-", "firewall"):            `service 2: listen: `,
		minimal + serviceText("two", ":-80", "firewall"):            `service 2: listen: `,
		minimal + serviceText("two", ":80-65536", "firewall"):       `service 2: listen: `,
		minimal + serviceText("two", ":80-90-99", "firewall"):       `service 2: listen: `,
		minimal + serviceText("two", ":80, :90", "firewall"):        `service 2: listen: `,
		minimal + listing("two", `[]`):                              `service 2: listen: expected host:port`,
		minimal + listing("two", `[80]`):                            `got 80 in the list`,
		minimal + listing("two", `[":80", ":70-90"]`):               `got ":80" and ":70-90", which have a port in common`,
		minimal + listing("two", `["192.0.2.1:80", ":80"]`):         `got "192.0.2.1:80" and ":80", which have a port in common`,
		minimal + listing("two", `["192.0.2.1:80", "192.0.2.2:70-8080"]`) + listing("three", `[":22", "192.0.2.2:75"]`): `got "192.0.2.2:75" for service three, which shares ports with "192.0.2.2:70-8080" of service two`,
		replace(`127.0.0.1:8080`, `:8080-8090`):                                                           `got ":8080-8090" for a service of type "web": only a service of type "firewall" has several ports`,
		replace(`"127.0.0.1:8080"`, `[":8080", ":8081"]`):                                                 `got ":8080, :8081" for a service of type "web": only a service of type "firewall" has several ports`,
		minimal + `allow = ["10.0.0.0/8"]`:                                                                `service 1: allow: expected a list of addresses, networks and interfaces in quotes, such as ["10.8.0.0/24", "docker0"], for a service of type "firewall", got it for a service of type "web", which does not have this key`,
		minimal + allowing(`"0.0.0.0/0"`):                                                                 `got "0.0.0.0/0", which lets strangers in: a network of IPv4 has at least 8 bits, one of IPv6 7`,
		minimal + allowing(`"::/0"`):                                                                      `got "::/0", which lets strangers in`,
		minimal + allowing(`"2000::/3"`):                                                                  `got "2000::/3", which lets strangers in`,
		minimal + allowing(`"10.8.0.1/24"`):                                                               `got "10.8.0.1/24", which has bits after its first 24: the network is "10.8.0.0/24"`,
		minimal + allowing(`"10.8.0.300"`):                                                                `got "10.8.0.300", which is not an address`,
		minimal + allowing(`"10.8.0.0/33"`):                                                               `got "10.8.0.0/33", which is not a network`,
		minimal + allowing(`"::ffff:10.0.0.0/104"`):                                                       `which is not a network of IPv4 or IPv6`,
		minimal + allowing(`"fe80::1%eth0"`):                                                              `got "fe80::1%eth0": name the interface instead of an address on it`,
		minimal + allowing(`"br-*"`):                                                                      `got "br-*", which is not the name of an interface: it has '*'`,
		minimal + allowing(`"docker0123456789"`):                                                          `got "docker0123456789": the name of an interface has at most 15 bytes`,
		minimal + allowing(`""`):                                                                          `got an empty entry`,
		minimal + allowing(`"eth1", "eth1"`):                                                              `got "eth1" twice`,
		minimal + allowing(`"10.8.0.1", "10.8.0.1/32"`):                                                   `got "10.8.0.1/32" twice`,
		minimal + allowing(`"224.0.0.0/8"`):                                                               `got "224.0.0.0/8", from which no packet comes`,
		minimal + serviceText("two", ":81", "proxy"):                                                      `service 2: upstream: expected host:port, or "unix:/PATH" for TCP, to which connections are forwarded; for type "process" on the loopback, or "inherit", got ""`,
		minimal + serviceText("two", ":81", "proxy") + `upstream = "unix:run/socket"`:                     `c.toml:12: service 2: upstream: expected host:port, or "unix:/PATH" for TCP, to which connections are forwarded; for type "process" on the loopback, or "inherit", got "unix:run/socket"`,
		minimal + serviceText("two", ":81", "proxy") + `upstream = "unix:/run/../socket"`:                 `got "unix:/run/../socket": the path must be absolute, without ".", ".." and empty parts`,
		minimal + serviceText("two", ":81", "proxy") + `upstream = "unix:@name"`:                          `got "unix:@name"`,
		minimal + serviceText("two", ":81", "proxy") + `upstream = "unix:"`:                               `got "unix:"`,
		minimal + serviceText("two", ":81", "proxy") + `upstream = "unix:/run/a/"`:                        `got "unix:/run/a/"`,
		minimal + serviceText("two", ":81", "proxy") + "upstream = \"unix:/run/\\u0000\"\n":               `got "unix:/run/\x00"`,
		minimal + serviceText("two", ":81", "proxy") + "upstream = \"unix:/run/s\"\nprotocol = \"udp\"\n": `got a Unix socket for UDP`,
		before("admin_socket = \"/run/admin\"") + serviceText("two", ":81", "proxy") + "upstream = \"unix:/run/admin\"\n":      `service 2: upstream: expected host:port, or "unix:/PATH" for TCP, to which connections are forwarded; for type "process" on the loopback, or "inherit", got "unix:/run/admin", which is admin_socket`,
		before("firewall_socket = \"/run/holder\"") + serviceText("two", ":81", "proxy") + "upstream = \"unix:/run/holder\"\n": `got "unix:/run/holder", which is firewall_socket`,
		minimal + serviceText("two", ":81", "firewall") + `root = "/x"`:                                                        `c.toml:12: service 2: root: expected the path of a directory, got it for a service of type "firewall", which does not have this key`,
		minimal + `policy = "drop"`:        `c.toml:8: service 1: policy: `,
		minimal + `protocol = "udp"`:       `c.toml:8: service 1: protocol: `,
		minimal + `protocol = "icmp"`:      `c.toml:8: service 1: protocol: `,
		minimal + `on_close = "maybe"`:     `c.toml:8: service 1: on_close: expected the absolute path of a program and its arguments, such as ["/usr/local/bin/allow", "del"]; or "keep" or "cut", as for connections, got "maybe"`,
		minimal + `look = "open"`:          `c.toml:8: service 1: look: `,
		minimal + `max_addresses = 0`:      `c.toml:8: service 1: max_addresses: `,
		minimal + `max_connections = 5000`: `c.toml:8: service 1: max_connections: `,
		minimal + `bind = "isn"`:           `service 1: bind: expected "address", "connection", or for type "firewall" "isn", got "isn" for a service of type "web"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"connection\"\n":                                               `got "connection" without via = "proxy": no byte of the connections of a service of type "firewall" passes through this process`,
		minimal + serviceText("two", ":81", "proxy") + "upstream = \"127.0.0.1:82\"\nprotocol = \"udp\"\nbind = \"connection\"\n": `got "connection", which requires protocol = "tcp"`,
		minimal + serviceText(strings.Repeat("n", 256), ":81", "proxy") + "upstream = \"127.0.0.1:82\"\nbind = \"connection\"\n":  `got 256 bytes for a service with bind = "connection"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"mac\"\n":                                                      `c.toml:12: service 2: bind: expected "address", "connection", or for type "firewall" "isn", got "mac"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\nprotocol = \"udp\"\n":                                  `got "isn", which requires protocol = "tcp"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\nopen_to = \"anyone\"\n":                                `got "isn", which requires open_to = "knocker"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\non_close = \"cut\"\n":                                  `got "isn", which requires connections = "keep"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\ngrant_prefix6 = 64\n":                                  `got "isn", which requires grant_prefix6 = 128`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\ngrant_prefix4 = 31\n":                                  `got "isn", which requires grant_prefix4 = 32`,
		minimal + `grant_prefix4 = 15`: `c.toml:8: service 1: grant_prefix4: expected how many bits of an IPv4 address a lease covers, a whole number from 16 to 32, got 15`,
		minimal + `grant_prefix4 = 33`: `c.toml:8: service 1: grant_prefix4: expected how many bits`,
		minimal + serviceText("two", ":0", "web") + "port = \"rotate\"\ngrant_prefix4 = 20\n": `got "rotate", which requires grant_prefix4 = 32, 24 or 16`,
		minimal + `grant_prefix6 = 48`:                                   `c.toml:8: service 1: grant_prefix6: expected 128 or 64, got 48`,
		minimal + `tls_cert = "x"`:                                       `service 1: tls_key: expected the path of a PEM file with the certificate's key, together with tls_cert, got one without the other`,
		minimal + `root = ""`:                                            `c.toml:8: service 1: root: `,
		replace(`"web"`, `"my web"`):                                     `c.toml:5: service 1: name: `,
		before("stealth_except = [53]"):                                  `c.toml:1: stealth_except: expected a list of UDP ports from 1025 to 65535, got 53`,
		before(`on_exit = "open"`):                                       `c.toml:1: on_exit: `,
		minimal + serviceText("two", ":81", "firewall") + `hook = "x"`:   `c.toml:12: service 2: hook: `,
		minimal + serviceText("two", ":81", "firewall") + `policy = "x"`: `c.toml:12: service 2: policy: `,
		replace(`name = "web"`, ""):                                      "service 1: name: expected a name of letters, digits, dots, hyphens and underscores, in quotes, got nothing",
		replace(`type = "web"`, `type = "ftp"`):                          `c.toml:6: service 1: type: expected "web", "proxy", "firewall", "process" or "command", got "ftp"`,
		replace(`127.0.0.1:8080`, `8080`):                                `c.toml:7: service 1: listen: expected host:port or :port in quotes, such as ":22", with an IP address as the host; for type "firewall" also a range such as ":60000-61000", or a list, got "8080"`,
		replace(`127.0.0.1:8080`, `www.example:8080`):                    "c.toml:7: service 1: listen: ",
		replace(`127.0.0.1:8080`, `:99999`):                              "c.toml:7: service 1: listen: ",
		replace(`127.0.0.1:8080`, `[::ffff:224.0.0.1]:80`):               `got "[::ffff:224.0.0.1]:80", with a multicast address`,
		replace(`127.0.0.1:8080`, `255.255.255.255:80`):                  `got "255.255.255.255:80", with the broadcast address`,
		replace(`127.0.0.1:8080`, `[fe80::1]:80`):                        `with a link-local address without its interface, such as fe80::1%eth0`,
		minimal + `open_for = "0s"`:                                      "c.toml:8: service 1: open_for: ",
		minimal + `open_for = 10`:                                        `c.toml:8: service 1: open_for: expected a duration such as "10s", from 1s to 1000h`,
		minimal + "open_for = \"20s\"\nopen_max = \"10s\"":               `c.toml:9: service 1: open_max: expected a duration such as "1m", not shorter than open_for, at most 1000h, got "10s"`,
		minimal + `open_to = "all"`:                                      `c.toml:8: service 1: open_to: expected "knocker" or "anyone", got "all"`,
		minimal + `root = "nowhere"`:                                     `c.toml:8: service 1: root: expected the path of a directory`,
		minimal + `root = `:                                              "c.toml:8: ",
	} {
		dir := files(t, map[string]string{"c.toml": text, "clients.txt": "com1 hunter2 0\n"})
		_, err := Load(filepath.Join(dir, "c.toml"), All)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret in %v", err)
		}
	}
}

// TestUpstreamLoops: a service whose upstream leads back to it would open
// connections to itself until the server's limits are reached.
func TestUpstreamLoops(t *testing.T) {
	proxy := func(name, listen, upstream string) Service {
		return Service{Name: name, kind: proxy{to: relay.Upstream(upstream)}, Listen: listen}
	}
	udp := func(s Service) Service { s.UDP = true; return s }
	for _, row := range []struct {
		services []Service
		loop     string // from the first service's upstream back to the service
	}{
		{[]Service{proxy("a", ":5432", "127.0.0.1:5432")}, "a"},
		{[]Service{proxy("a", ":5432", "127.0.0.2:5432")}, "a"},
		{[]Service{proxy("a", ":5432", "[::1]:5432")}, "a"},
		{[]Service{proxy("a", ":5432", "0.0.0.0:5432")}, "a"},
		{[]Service{proxy("a", ":5432", "LocalHost:5432")}, "a"},
		{[]Service{proxy("a", "127.0.0.1:5432", "0.0.0.0:5432")}, "a"},
		{[]Service{proxy("a", "[::1]:5432", "[::]:5432")}, "a"},
		{[]Service{proxy("a", "192.0.2.1:5432", "[::ffff:192.0.2.1]:5432")}, "a"},
		{[]Service{udp(proxy("a", ":53", "127.0.0.1:53"))}, "a"},
		{[]Service{proxy("a", ":1", "127.0.0.1:2"), proxy("b", ":2", "localhost:3"), proxy("c", ":3", "127.0.0.1:1")}, "b c a"},
		// A name may have the addresses of two services.
		{[]Service{proxy("a", ":1", "localhost:2"), proxy("b", "127.0.0.1:2", "10.0.0.5:1"), proxy("c", "[::1]:2", "127.0.0.1:1")}, "c a"},

		{[]Service{proxy("a", ":5432", "127.0.0.1:5433")}, ""},
		{[]Service{proxy("a", ":5432", "10.0.0.5:5432")}, ""},
		{[]Service{proxy("a", ":5432", "db.example.org:5432")}, ""},
		{[]Service{proxy("a", "192.0.2.1:5432", "localhost:5432")}, ""},
		{[]Service{proxy("a", "192.0.2.1:5432", "0.0.0.0:5432")}, ""},
		{[]Service{proxy("a", "0.0.0.0:5432", "[::1]:5432")}, ""},
		{[]Service{proxy("a", ":53", "127.0.0.1:54"), udp(proxy("b", ":54", "127.0.0.1:53"))}, ""},
		{[]Service{proxy("a", ":1", "127.0.0.1:2"), {Name: "b", kind: guarded{}, Listen: ":2"}}, ""},
		// It leads into a loop of other services.
		{[]Service{proxy("a", ":1", "127.0.0.1:2"), proxy("b", ":2", "127.0.0.1:3"), proxy("c", ":3", "127.0.0.1:2")}, ""},
	} {
		loop := strings.Join(upstreamLoop(row.services, 0, 0, make([]bool, len(row.services))), " ")
		if first := row.services[0]; loop != row.loop {
			t.Errorf("%s at %s to %s: loop %q, want %q", first.Name, first.Listen, first.kind.upstream(), loop, row.loop)
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
	} {
		dir := files(t, map[string]string{"c.toml": row.text, "ps": "hunter2", "clients.txt": "com1 hunter2 0\n"})
		err := errors.Join(os.Chmod(filepath.Join(dir, row.exposed), 0o644), os.Chmod(filepath.Dir(dir), 0o755))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(filepath.Join(dir, "c.toml"), Secrets)
		shared := "secret_files = \"shared\"\n"
		if err := os.WriteFile(filepath.Join(dir, "shared.toml"), []byte(shared+row.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(filepath.Join(dir, "shared.toml"), Secrets); err != nil {
			t.Errorf("%s: shared: %v", row.exposed, err)
		}
		got := err != nil && strings.Contains(err.Error(), "others may read") && strings.Contains(err.Error(), row.exposed)
		if got != row.want || !got && err != nil {
			t.Errorf("%s: %v", row.exposed, err)
		}
	}
}

// TestBlanksInSecrets: an error names the key and the place, and not the secret.
func TestBlanksInSecrets(t *testing.T) {
	for secret, want := range map[string]string{
		"hunter2 ":  "port_secret: expected the secret from which the ports are derived, as text in quotes; or port_secret_file instead, got a space at its end",
		`\thunter2`: "a tab at its beginning", "hun\u00a0ter2": "a no-break space (U+00A0) at character 4 of 8",
		"\ufeffhunter2": "a byte order mark (U+FEFF) at its beginning", "two words": "",
	} {
		dir := files(t, map[string]string{
			"c.toml": "\ufeff" + strings.Replace(minimal, `"hunter2"`, `"`+secret+`"`, 1), "clients.txt": "",
		})
		_, err := Load(filepath.Join(dir, "c.toml"), Secrets)
		switch {
		case (err == nil) != (want == ""), err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%q: got %v, want %s", secret, err, want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(Reference))
	f.Add([]byte(uncommented()))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("c.toml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "c.toml:") {
				t.Fatalf("no position: %v", err)
			}
			return
		}
		if cfg.Ports < 1 || cfg.Ports > 128 || cfg.Tolerance < 5*time.Second || cfg.Tolerance > time.Minute {
			t.Fatalf("%+v", cfg)
		}
		for _, s := range cfg.Services {
			if s.Policy.OpenMax < s.Policy.OpenFor || s.Policy.Addresses < 1 || s.Connections < 1 || (s.Port() == 0) == s.HasPort() {
				t.Fatalf("%+v", s)
			}
		}
		if err := cfg.Changed(cfg, true); err != nil {
			t.Fatalf("a configuration differs from itself: %v", err)
		}
	})
}

// TestSeveralPorts: a range or a list is one service, and one port of the firewall.
func TestSeveralPorts(t *testing.T) {
	for list, want := range map[string]struct {
		listen string
		port   firewall.Port
	}{
		`":60000-61000"`: {":60000-61000", firewall.Port{Port: 60000, Last: 61000}},
		`":0080"`:        {":0080", firewall.Port{Port: 80}},
		`":80-80"`:       {":80", firewall.Port{Port: 80}},
		`[":21", "192.0.2.1:0050000-50100", "[2001:db8::1]:990"]`: {
			":21, 192.0.2.1:50000-50100, [2001:db8::1]:990",
			firewall.Port{Port: 21, More: []firewall.At{
				{Address: netip.MustParseAddr("192.0.2.1"), Ports: access.Ports{First: 50000, Last: 50100}},
				{Address: netip.MustParseAddr("2001:db8::1"), Ports: access.Ports{First: 990, Last: 990}},
			}},
		},
	} {
		cfg, err := Parse("c.toml", []byte(minimal+listing("two", list)))
		if err != nil {
			t.Errorf("%s: %v", list, err)
			continue
		}
		want.port.Service, want.port.Protocol = cfg.Services[1].ID(), firewall.TCP
		got := cfg.Firewall().Ports[1]
		if len(got.More) == 0 {
			got.More = nil
		}
		if s := &cfg.Services[1]; s.Listen != want.listen || !reflect.DeepEqual(got, want.port) {
			t.Errorf("%s: %q, %+v; want %q, %+v", list, s.Listen, got, want.listen, want.port)
		}
	}
}

// TestSeveralPortsOfAChallenge: a range does not contain ports of the challenge
// protocol, has no random ports, and leaves enough of them to others.
func TestSeveralPortsOfAChallenge(t *testing.T) {
	const challenge = "[challenge]\n[[operation]]\nid = \"alice\"\nsecret = \"a secret\"\n"
	udp := func(listen string) string { return listing("two", listen) + "protocol = \"udp\"\n" }
	for text, want := range map[string]string{
		minimal + udp(`[":53", ":30000-40000"]`) + challenge + "service = \"two\"\n":                                                          `challenge.ports: expected a range of ports in quotes, such as "16384-30719", got "16384-30719", which contains UDP port 30000-40000 of service two`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\n" + challenge + "service = \"two\"\nport = \"random\"\n":           `got "random" for service two, which has bind = "isn"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\n" + challenge + "service = \"two\"\n":                              "",
		minimal + "bind = \"connection\"\n" + challenge + "service = \"web\"\n":                                                               `client: expected the identifier of a client in the clients file, got nothing, for service web, which has bind = "connection"`,
		minimal + "bind = \"connection\"\n" + challenge + "service = \"web\"\nclient = \"com1\"\n":                                            "",
		minimal + "bind = \"connection\"\n" + challenge + "service = \"web\"\naction = \"close\"\n":                                           "",
		minimal + "bind = \"connection\"\n" + challenge + "service = \"web\"\nclient = \"com1\"\nport = \"random\"\n":                         `got "random" for service web, which has bind = "connection"`,
		minimal + serviceText("two", ":81", "firewall") + "bind = \"isn\"\n" + challenge + "service = \"two\"\nopen_for = \"until-closed\"\n": `got "until-closed" for service two, which has bind = "isn"`,
		minimal + listing("two", `":80-90"`) + challenge + "service = \"two\"\nport = \"random\"\n":                                           `got "random" for service two, which has several ports: a random port leads to one`,
		minimal + listing("two", `":1025-64000"`) + challenge + "service = \"web\"\nport = \"random\"\n":                                      `shares ports`,
		minimal + listing("two", `["127.0.0.2:1025-64000"]`) + challenge + "service = \"web\"\nport = \"random\"\n":                           `got "random", but the services leave only 1535 ports to draw from; at least 16384 are required`,
		minimal + listing("two", `["127.0.0.2:1025-8079", ":80"]`) + challenge + "service = \"web\"\nport = \"random\"\n":                     "",
	} {
		_, err := Parse("c.toml", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
