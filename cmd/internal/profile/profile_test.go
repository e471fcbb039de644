package profile

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

const good = `server = "gate.example"
port_secret = "port hunter2"
ports = 3
identifier = "com1"
secret = "hunter2"
service = ":22"
`

func TestParse(t *testing.T) {
	p, err := parseBoth(t, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := client.Profile{
		Server: "gate.example", PortSecret: "port hunter2", Ports: 3, Generator: schedule.Algorithm1,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("hunter2"), Service: ":22",
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v", p)
	}
	p, err = parseBoth(t, []byte(good+"generator = \"java\"\nversion = 1\n"))
	if err != nil || p.Generator != schedule.Java {
		t.Errorf("java: %+v, %v", p, err)
	}
	text, err := profilefile.Format(p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := parseBoth(t, text); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("formatted:\n%s\nparsed: %+v, %v", text, again, err)
	}
}

func TestParseRefuses(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for text, want := range map[string]string{
		replace(`ports = 3`, `ports = 0`):                 "p.toml:3: ports: expected the number of knocks, a whole number from 1 to 128, got 0",
		replace(`ports = 3`, `ports = 129`):               "p.toml:3: ports: ",
		replace(`ports = 3`, `ports = "3"`):               "p.toml:3: ports: expected the number of knocks",
		replace(`ports = 3`, ``):                          "ports: expected the number of knocks, a whole number from 1 to 128, got nothing",
		replace(`"com1"`, `"com"`):                        "p.toml:4: identifier: expected 4 printable ASCII characters in quotes, no space, no # in front, got another text, of 3 bytes",
		replace(`"com1"`, `"co 1"`):                       "p.toml:4: identifier: ",
		replace(`"com1"`, `"é12"`):                        "p.toml:4: identifier: ",
		replace(`"hunter2"`, `""`):                        "p.toml:5: secret: expected the client's secret",
		replace(`"hunter2"`, `"hunter2 hunter2"`):         "p.toml:5: secret: ",
		replace(`"port hunter2"`, `""`):                   "p.toml:2: port_secret: ",
		replace(`"gate.example"`, `""`):                   "p.toml:1: server: expected the host name or address",
		replace(`"gate.example"`, `"10.0.0.300"`):         "p.toml:1: server: ",
		good + "bind = \"mac\"\n":                         `p.toml:7: bind: expected "isn" or "connection", for a TCP service, got "mac"`,
		good + "bind = \"connection\"\n":                  `p.toml: service_name: expected with bind = "connection", the name of the service in the server's configuration, 1 to 255 bytes, got 0 bytes`,
		good + "service_name = \"ssh\"\n":                 `got "ssh" without bind = "connection"`,
		good + "bind = \"isn\"\nservice_name = \"ssh\"\n": `got "ssh" without bind = "connection"`,
		replace(`":22"`, `":22/udp"`) + "bind = \"connection\"\nservice_name = \"dns\"\n": `got "connection" without the key service, or with a UDP service`,
		good + "bind = \"\"\n":                                              `p.toml:7: bind: expected "isn" or "connection", for a TCP service, got ""`,
		replace(`":22"`, `":22/udp"`) + "bind = \"isn\"\n":                  `p.toml:7: bind: expected "isn" or "connection", for a TCP service, got "isn" without the key service, or with a UDP service`,
		strings.Replace(good, "service = \":22\"\n", "bind = \"isn\"\n", 1): `bind: expected "isn" or "connection", for a TCP service, got "isn" without the key service`,
		good + "watch = \"often\"\n":                                        `p.toml:7: watch: expected how to watch the service: "syn", "connection" or "none", got "often"`,
		replace(`"gate.example"`, `"udp://gate.example/"`):                  "p.toml:1: server: ",
		replace(`"gate.example"`, `"gate.example:22"`):                      `p.toml:1: server: expected the host name or address of the server, without a port, got "gate.example:22"`,
		replace(`"com1"`, `"#om1"`):                                         "p.toml:4: identifier: ",
		replace(`":22"`, `"22"`):                                            `p.toml:6: service: expected host:port or :port of the service to watch, with /udp behind it for a UDP service; :rotate with a [rotate] table, got "22"`,
		replace(`":22"`, `":22/sctp"`):                                      "p.toml:6: service: ",
		replace(`":22"`, `":ssh"`):                                          "p.toml:6: service: ",
		replace(`":22"`, `""`):                                              "p.toml:6: service: ",
		replace(`"gate.example"`, `"::1%$(id>pwned)"`):                      "p.toml:1: server: ",
		replace(`"gate.example"`, `"::1%eth0"`):                             "p.toml:1: server: ",
		replace(`"gate.example"`, `"fe80::1%;id"`):                          "p.toml:1: server: ",
		replace(`"gate.example"`, `"$(id)"`):                                "p.toml:1: server: ",
		replace(`"gate.example"`, `"-oProxyCommand=x"`):                     "p.toml:1: server: ",
		replace(`":22"`, `"[fe80::1%$(id)]:22"`):                            "p.toml:6: service: ",
		replace(`":22"`, `"a;id:22"`):                                       "p.toml:6: service: ",
		replace(`":22"`, `"\u001b[2J:22"`):                                  "p.toml:6: service: ",
		good + "generator = \"pcg\"":                                        `p.toml:7: generator: expected "algorithm1" or "java"`,
		good + "version = 2":                                                "p.toml:7: version: expected 1",
		good + "colour = 3":                                                 `p.toml:7: colour: unknown key "colour"; expected one of version, server,`,
		good + "nonce = -1":                                                 "p.toml:7: nonce: expected the first nonce of a device",
		good + "secret = ":                                                  "p.toml:7: ",
	} {
		_, err := parseBoth(t, []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret in %v", err)
		}
	}
}

const rotating = `server = "gate.example"
port_secret = "port hunter2"
ports = 3
identifier = "com1"
secret = "hunter2"
service = ":rotate"
[rotate]
name = "web"
ports = "10000-32767"
except = ["16384-30719", "25565"]
`

func TestParseRotate(t *testing.T) {
	p, err := parseBoth(t, []byte(rotating))
	if err != nil {
		t.Fatal(err)
	}
	want := &client.Rotation{Service: "web", Drawn: schedule.Drawn{
		Range:  schedule.Range{First: 10000, Last: 32767},
		Except: []schedule.Range{{First: 16384, Last: 30719}, {First: 25565, Last: 25565}},
	}}
	if !reflect.DeepEqual(p.Rotation, want) || p.Service != ":rotate" {
		t.Errorf("got %+v, service %s", p.Rotation, p.Service)
	}
	text, err := profilefile.Format(p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := parseBoth(t, text); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("%s became %+v (%v)", text, again, err)
	}
	if p, err := parseBoth(t, []byte(good)); err != nil || p.Rotation != nil {
		t.Errorf("a profile without the table has %+v (%v)", p.Rotation, err)
	}
}

func TestParseRotateRefuses(t *testing.T) {
	const (
		name  = "p.toml:8: rotate.name: expected the name of the service in the server's configuration, in quotes, "
		ports = `p.toml:9: rotate.ports: expected a range of ports in quotes, such as "10000-32767", from 1025 to 65535, `
	)
	replace := func(old, new string) string { return strings.Replace(rotating, old, new, 1) }
	for text, want := range map[string]string{
		replace(`":rotate"`, `":22"`):                          `got it without service = ":rotate"`,
		strings.SplitAfter(rotating, ":rotate\"\n")[0]:         `expected a [rotate] table, with service = ":rotate", got none, and service = ":rotate"`,
		replace(`name = "web"`, ""):                            `rotate.name: expected the name of the service in the server's configuration, in quotes, got nothing`,
		replace(`"web"`, `"my web"`):                           name + `got "my web"`,
		replace(`"web"`, `"web\n2"`):                           name + `got "web\n2"`,
		replace(`"web"`, "3"):                                  name,
		replace(`"10000-32767"`, `"32767-10000"`):              ports + `got "32767-10000"`,
		replace(`"10000-32767"`, `"80-32767"`):                 ports + `got "80-32767"`,
		replace(`"10000-32767"`, `"10000-70000"`):              ports + `got "10000-70000"`,
		replace(`"10000-32767"`, `"10000-10002"`):              ports + `got "10000-10002", which leaves 3 to draw from; at least 4 are required`,
		replace(`"10000-32767"`, `"25563-25567"`) + "":         ports + `got "25563-25567", which leaves 0 to draw from`,
		replace(`"25565"]`, `"25565", "x"]`):                   `p.toml:10: rotate.except: expected a list of ports and ranges of ports in quotes, such as ["16384-30719", "25565"], at most 1024, got "x" (entry 3)`,
		replace(`"25565"]`, strings.Repeat(`"1", `, 1025)+"]"): "got 1026 entries",
		rotating + "label = \"x\"\n":                           `unknown key "label"`,
		replace("[rotate]\n", "bind = \"isn\"\n[rotate]\n"):    `p.toml:7: bind: expected "isn" or "connection", for a TCP service, got "isn" with a service whose port rotates`,
		replace(`":rotate"`, `":rotate/udp"`) + "":             "",
		replace(`"10000-32767"`, `"16000-16390"`):              "",
		replace(`":rotate"`, `"gate.example:rotate"`):          "",
	} {
		_, err := parseBoth(t, []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
	// The number of ports is not what is wrong with these.
	_, err := parseBoth(t, []byte(replace(`"10000-32767"`, `"80-32767"`)))
	if err == nil || strings.Contains(err.Error(), "leaves") {
		t.Errorf("a range that begins too low: %v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	path := filepath.Join(dir, "sallyport", "work.toml")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"work", path} {
		if p, err := Load(name); err != nil || p.Server != "gate.example" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := Load("home"); err == nil || !strings.Contains(err.Error(), "home.toml") {
		t.Errorf("a missing profile: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("work"); err != nil {
		t.Errorf("a profile that others may read in a directory that they may not search: %v", err)
	}
	for dir := filepath.Dir(path); dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load("work"); err == nil || !strings.Contains(err.Error(), "others may read") {
		t.Errorf("an exposed profile: %v", err)
	}
	for value, want := range map[string]string{"shared": "", "private": "others may read", "all": "others may read"} {
		if err := os.WriteFile(path, []byte("\ufeff"+good+"secret_files = \""+value+"\"\r\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load("work"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("secret_files = %q: %v", value, err)
		}
	}
}

func TestNonces(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	for id, want := range map[string]string{"com1": "com1-*.nonce", "../x": "..%2Fx-*.nonce"} {
		f, err := Nonces(t.Context(), client.Profile{Server: "gate.example", Identifier: wire.Identifier([]byte(id))})
		ok, _ := filepath.Match(filepath.Join("/state/sallyport", want), f.Path)
		if err != nil || !ok {
			t.Errorf("%s: %s, %v", id, f.Path, err)
		}
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/x")
	t.Setenv("STATE_DIRECTORY", "")
	f, err := Nonces(t.Context(), client.Profile{Server: "s", Identifier: wire.Identifier([]byte("com1"))})
	if err != nil || filepath.Dir(f.Path) != "/home/x/.local/state/sallyport" {
		t.Errorf("%s, %v", f.Path, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(rotating))
	f.Add([]byte(opening))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseBoth(t, data)
		if err != nil {
			return
		}
		text, err := profilefile.Format(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseBoth(t, text); err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
