package legacy

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/cmd/internal/profile"
	"sallyport/cmd/sallyportd/internal/config"
)

// defaults are the files of the paper's Listings 1 to 4.
var defaults = map[string]string{
	"server.properties":   "bind-address=0.0.0.0\nport-secret=portSecret\nports=3\ntrusted-clients-path=trusted_clients.txt\nopen-timeout=10\n",
	"client.properties":   "server-address=localhost\nport-secret=portSecret\nports=3\nclient-identifier=com1\nclient-shared-secret=com1_secret\nnonce=0\n",
	"service.properties":  "use-embedded-webserver=true\nservice-bind=127.0.0.1\nservice-port=8080\nproxy-address=\nproxy-port=\n",
	"trusted_clients.txt": "# identifier, secret, nonce\ncom1 com1_secret 0\ncom2 com2_secret 14\ncom3 com3_secret 5\n",
}

// write writes the default files, with changes: "FILE KEY" gets a value, "-" removes the
// key, and "FILE" gets a text, or "-" for no such file.
func write(t *testing.T, changes map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files := maps.Clone(defaults)
	for at, value := range changes {
		name, key, isKey := strings.Cut(at, " ")
		switch {
		case !isKey && value == "-":
			delete(files, name)
		case !isKey:
			files[name] = value
		default:
			lines := slices.DeleteFunc(strings.SplitAfter(files[name], "\n"), func(line string) bool { return strings.HasPrefix(line, key+"=") })
			if value != "-" {
				lines = append(lines, key+"="+value+"\n")
			}
			files[name] = strings.Join(lines, "")
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWrongValues: each key of the first implementation, with values that it or we
// cannot use. The error names the file and the key, the expected values and the value found.
func TestWrongValues(t *testing.T) {
	type change = map[string]string
	for _, row := range []struct {
		change change
		want   string
	}{
		{change{"server.properties bind-address": ""}, "server.properties: bind-address: expected a value, got nothing"},
		{change{"server.properties bind-address": "*"}, `server.properties: bind-address: expected an IP address or a host name, without a port, got "*"`},
		{change{"server.properties bind-address": "10.0.0.300"}, `bind-address: expected an IP address or a host name, without a port, got "10.0.0.300"`},
		{change{"server.properties bind-address": "0.0.0.0:80"}, `bind-address: expected an IP address or a host name, without a port, got "0.0.0.0:80"`},
		{change{"server.properties bind-address": "224.0.0.1"}, ": the configuration that is made of server.properties and service.properties is invalid: "},
		{change{"server.properties port-secret": "-"}, "server.properties: expected the key port-secret"},
		{change{"server.properties port-secret": ""}, "server.properties: port-secret: expected a value, got nothing"},
		{change{"server.properties port-secret": "a\\nb"}, "port-secret: expected a secret on a single line, got several lines"},
		{change{"server.properties port-secret": "a "}, "port-secret: expected a secret without blanks around it"},
		{change{"server.properties ports": "0"}, `ports: expected a whole number from 1 to 128, got "0"`},
		{change{"server.properties ports": "129"}, `ports: expected a whole number from 1 to 128, got "129"`},
		{change{"server.properties ports": ""}, "ports: expected a whole number from 1 to 128, got nothing"},
		{change{"server.properties open-timeout": "0"}, `open-timeout: expected a whole number of seconds from 1 to 3600000, got "0"`},
		{change{"server.properties open-timeout": "10s"}, `open-timeout: expected a whole number of seconds from 1 to 3600000, got "10s"`},
		{change{"server.properties trusted-clients-path": ""}, "trusted-clients-path: expected a value, got nothing"},
		{change{"server.properties trusted-clients-path": "gone.txt"}, "server.properties: trusted-clients-path: read the trusted clients: open "},
		{change{"server.properties trusted-clients-path": "."}, "is a directory"},
		{change{"trusted_clients.txt": "com1 secret\n"}, "trusted_clients.txt:1: "},
		{change{"trusted_clients.txt": "com secret 0\n"}, "trusted_clients.txt:1: "},
		{change{"trusted_clients.txt": "com1 secret -1\n"}, "trusted_clients.txt:1: "},
		{change{"trusted_clients.txt": "com1 secret 4294967296\n"}, "trusted_clients.txt:1: "},
		{change{"trusted_clients.txt": "com1 a 0\ncom1 b 0\n"}, "trusted_clients.txt:2: "},
		{change{"trusted_clients.txt": "com1 a 0 services=ssh\n"}, `client com1: service "ssh" is not configured; expected web`},
		{change{"service.properties use-embedded-webserver": ""}, "use-embedded-webserver: expected true or false, got nothing"},
		{change{"service.properties use-embedded-webserver": "1"}, `use-embedded-webserver: expected true or false, got "1"`},
		{change{"service.properties use-embedded-webserver": "false"},
			"service.properties: with use-embedded-webserver=false, expected the port of the web server, got no value of proxy-port"},
		{change{"service.properties use-embedded-webserver": "false", "service.properties proxy-address": "127.0.0.1", "service.properties proxy-port": "-"}, "got no value of proxy-port"},
		{change{"service.properties use-embedded-webserver": "FALSE", "service.properties proxy-port": "8080"}, "loop"},
		{change{"service.properties use-embedded-webserver": "false", "service.properties proxy-address": "http://web", "service.properties proxy-port": "80"},
			`proxy-address: expected an IP address or a host name, without a port, got "http://web"`},
		{change{"service.properties use-embedded-webserver": "false", "service.properties proxy-address": "web", "service.properties proxy-port": "http"},
			`proxy-port: expected a whole number from 1 to 65535, got "http"`},
		{change{"service.properties use-embedded-webserver": "false", "service.properties proxy-address": "127.0.0.1", "service.properties proxy-port": "8080"}, "loop"},
		{change{"service.properties service-bind": ""}, "service-bind: expected a value, got nothing"},
		{change{"service.properties service-bind": "gate.invalid"}, `service.properties: service-bind: this host cannot resolve the host name "gate.invalid"`},
		{change{"service.properties service-port": "0"}, `service-port: expected a whole number from 1 to 65535, got "0"`},
		{change{"service.properties service-port": ""}, "service-port: expected a whole number from 1 to 65535, got nothing"},
		{change{"client.properties server-address": ""}, "client.properties: server-address: expected a value, got nothing"},
		{change{"client.properties server-address": "gate:80"}, `server-address: expected an IP address or a host name, without a port, got "gate:80"`},
		{change{"client.properties port-secret": "-"}, "client.properties: expected the key port-secret"},
		{change{"client.properties ports": "x"}, `client.properties: ports: expected a whole number from 1 to 128, got "x"`},
		{change{"client.properties client-identifier": "com"}, "client.properties: client-identifier: "},
		{change{"client.properties client-identifier": ""}, "client.properties: client-identifier: expected a value, got nothing"},
		{change{"client.properties client-shared-secret": ""}, "client.properties: client-shared-secret: expected a value, got nothing"},
		{change{"client.properties nonce": ""}, "client.properties: nonce: expected a whole number from 0 to 4294967295, got nothing"},
		{change{"client.properties nonce": "-1"}, `nonce: expected a whole number from 0 to 4294967295, got "-1"`},
		{change{"client.properties nonce": "4294967296"}, `got "4294967296"`},
		{change{"server.properties": "-", "client.properties": "-"}, "expected server.properties or client.properties, found neither"},
		{change{"server.properties": "port-secret=\\u12\n"}, "server.properties: expected lines of key=value"},
	} {
		dir := write(t, row.change)
		files, _, err := Read(dir, dir, Program{})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v:\ngot  %v\nwant %s", row.change, err, row.want)
		}
		if len(files) > 0 {
			t.Errorf("%v: %d files in spite of the error", row.change, len(files))
		}
		if err != nil && (strings.Contains(err.Error(), "portSecret") || strings.Contains(err.Error(), "com1_secret")) {
			t.Errorf("%v: the error has a secret: %v", row.change, err)
		}
		var hinted interface{ Hint() string }
		_, ofClients := row.change["trusted_clients.txt"] // those name the line and the columns
		if !ofClients && !errors.As(err, &hinted) {
			t.Errorf("%v: an error without a hint: %v", row.change, err)
		}
	}
}

// TestMistypedKey: the error about a missing key names the mistyped one.
func TestMistypedKey(t *testing.T) {
	dir := write(t, map[string]string{"server.properties": "port-secert=portSecret\n"})
	_, warnings, err := Read(dir, dir, Program{})
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || hinted.Hint() != `the file has "port-secert": correct it to port-secret` {
		t.Errorf("got %v", err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "not a key of the first implementation") {
		t.Errorf("warnings %q", warnings)
	}
}

// TestCarriedOver: values that are unusual, and valid.
func TestCarriedOver(t *testing.T) {
	type change = map[string]string
	for name, row := range map[string]struct {
		change             change
		config, profile    string // parts of the files
		warning, noWarning string
	}{
		"the defaults": {
			config:  "[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \"127.0.0.1:8080\"\nopen_for = \"10s\"\n",
			profile: "service = ':8080'", noWarning: "will not accept",
		},
		"ten knocks add up": {change: change{"server.properties open-timeout": "60"}, config: `open_max = "600s"`},
		"at most the maximum": {
			change: change{"server.properties open-timeout": "3600000"}, config: `open_max = "3600000s"`,
		},
		"a host name to bind": {
			change: change{"server.properties bind-address": "gate.invalid"}, config: `listen = ["gate.invalid"]`,
			warning: "bind-address: the server resolves the host name gate.invalid when it starts",
		},
		"brackets": {
			change: change{"server.properties bind-address": "[::]", "client.properties server-address": "[2001:db8::1]"},
			config: "server = \"2001:db8::1\"\nlisten = [\"::\"]", profile: "server = '2001:db8::1'",
		},
		"a service of another host": {
			change: change{"client.properties server-address": "gate.example.org", "service.properties service-port": "2022"},
			config: `server = "gate.example.org"`, profile: "service = ':2022'",
			warning: "service-bind=127.0.0.1: clients on other hosts cannot reach this service",
		},
		"a service on all addresses": {
			change:  change{"client.properties server-address": "gate.example.org", "service.properties service-bind": "0.0.0.0"},
			profile: "service = ':8080'", noWarning: "cannot reach",
		},
		"no service.properties": {
			change: change{"service.properties": "-"}, config: `listen = "127.0.0.1:8080"`,
			warning: "so the profile names no service to watch",
		},
		"a proxy": {
			change: change{"service.properties use-embedded-webserver": "False", "service.properties proxy-address": "::1", "service.properties proxy-port": "443"},
			config: "type = \"proxy\"\nupstream = \"[::1]:443\"",
		},
		"unused keys of a proxy": {
			change: change{"service.properties proxy-port": "443"}, warning: "proxy-port is not used, because use-embedded-webserver is true",
		},
		"another port secret": {
			change: change{"client.properties port-secret": "other"}, warning: "different values of port-secret",
		},
		"other ports":       {change: change{"client.properties ports": "4"}, warning: "different values of ports"},
		"an unknown client": {change: change{"client.properties client-identifier": "com9"}, warning: "the trusted clients lack client com9"},
		"another secret":    {change: change{"client.properties client-shared-secret": "x"}, warning: "client com1 has one secret in client.properties, and another"},
		"no nonces left":    {change: change{"client.properties nonce": "4294967293"}, warning: "client com1 has used up the nonces of its secret"},
		"no nonces left at the server": {
			change: change{"trusted_clients.txt": "com1 com1_secret 4294967295\n"}, warning: "client com1 has used up the nonces",
		},
		"nonces for one sequence": {change: change{"client.properties nonce": "4294967292"}, noWarning: "used up"},
		"a client alone": {
			change:  change{"server.properties": "-", "trusted_clients.txt": "-", "service.properties use-embedded-webserver": "false"},
			profile: "service = ':8080'",
		},
	} {
		dir := write(t, row.change)
		files, warnings, err := Read(dir, dir, Program{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		made := map[string]string{}
		for _, f := range files {
			made[f.Name] = f.Text
		}
		if text, ok := made[config.FileName]; !strings.Contains(text, row.config) {
			t.Errorf("%s: no %q in\n%s", name, row.config, text)
		} else if _, err := config.Parse(config.FileName, []byte(text)); ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(made["profile.toml"], row.profile) {
			t.Errorf("%s: no %q in\n%s", name, row.profile, made["profile.toml"])
		}
		if _, err := profile.Parse("profile.toml", []byte(made["profile.toml"])); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		all := strings.Join(warnings, "\n")
		if !strings.Contains(all, row.warning) || row.noWarning != "" && strings.Contains(all, row.noWarning) {
			t.Errorf("%s: warnings\n%s", name, all)
		}
	}
}

// TestClientsFileOfOurName: the old clients file stays for the first implementation if
// it has the name of ours.
func TestClientsFileOfOurName(t *testing.T) {
	dir := write(t, map[string]string{
		"server.properties trusted-clients-path": config.ClientsName,
		config.ClientsName:                       defaults["trusted_clients.txt"], "trusted_clients.txt": "-",
	})
	for out, want := range map[string]string{dir: ownClientsName, t.TempDir(): config.ClientsName} {
		files, _, err := Read(dir, out, Program{})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(files, func(f File) bool { return f.Text == defaults["trusted_clients.txt"] })
		j := slices.IndexFunc(files, func(f File) bool { return f.Name == config.FileName })
		if files[i].Name != want || !strings.Contains(files[j].Text, "clients = \""+want+"\"\n") {
			t.Errorf("the clients are in %s, and the configuration is\n%s", files[i].Name, files[j].Text)
		}
	}
}
