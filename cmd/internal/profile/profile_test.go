package profile

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sallyport/sessions/client"
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
	p, err := Parse("p.toml", []byte(good))
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
	p, err = Parse("p.toml", []byte(good+"generator = \"java\"\nversion = 1\n"))
	if err != nil || p.Generator != schedule.Java {
		t.Errorf("java: %+v, %v", p, err)
	}
	text, err := Format(p)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse("p.toml", text); err != nil || !reflect.DeepEqual(again, p) {
		t.Errorf("formatted:\n%s\nparsed: %+v, %v", text, again, err)
	}
}

func TestParseRefuses(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for text, want := range map[string]string{
		replace(`ports = 3`, `ports = 0`):                                   "p.toml:3: ports: expected the number of knocks, a whole number from 1 to 128, got 0",
		replace(`ports = 3`, `ports = 129`):                                 "p.toml:3: ports: ",
		replace(`ports = 3`, `ports = "3"`):                                 "p.toml:3: ports: expected the number of knocks",
		replace(`ports = 3`, ``):                                            "ports: expected the number of knocks, a whole number from 1 to 128, got nothing",
		replace(`"com1"`, `"com"`):                                          "p.toml:4: identifier: expected 4 printable ASCII characters in quotes, no space, no # in front, got another text, of 3 bytes",
		replace(`"com1"`, `"co 1"`):                                         "p.toml:4: identifier: ",
		replace(`"com1"`, `"é12"`):                                          "p.toml:4: identifier: ",
		replace(`"hunter2"`, `""`):                                          "p.toml:5: secret: expected the client's secret",
		replace(`"hunter2"`, `"hunter2 hunter2"`):                           "p.toml:5: secret: ",
		replace(`"port hunter2"`, `""`):                                     "p.toml:2: port_secret: ",
		replace(`"gate.example"`, `""`):                                     "p.toml:1: server: expected the host name or address",
		replace(`"gate.example"`, `"10.0.0.300"`):                           "p.toml:1: server: ",
		good + "bind = \"mac\"\n":                                           `p.toml:7: bind: expected "isn", for a TCP service, got "mac"`,
		good + "bind = \"\"\n":                                              `p.toml:7: bind: expected "isn", for a TCP service, got ""`,
		replace(`":22"`, `":22/udp"`) + "bind = \"isn\"\n":                  `p.toml:7: bind: expected "isn", for a TCP service, got "isn" without the key service, or with a UDP service`,
		strings.Replace(good, "service = \":22\"\n", "bind = \"isn\"\n", 1): `bind: expected "isn", for a TCP service, got "isn" without the key service`,
		good + "watch = \"often\"\n":                                        `p.toml:7: watch: expected how to watch the service: "syn", "connection" or "none", got "often"`,
		replace(`"gate.example"`, `"udp://gate.example/"`):                  "p.toml:1: server: ",
		replace(`"gate.example"`, `"gate.example:22"`):                      `p.toml:1: server: expected the host name or address of the server, without a port, got "gate.example:22"`,
		replace(`"com1"`, `"#om1"`):                                         "p.toml:4: identifier: ",
		replace(`":22"`, `"22"`):                                            `p.toml:6: service: expected host:port or :port of the service to watch, with /udp behind it for a UDP service, got "22"`,
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
		_, err := Parse("p.toml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret in %v", err)
		}
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
		f, err := Nonces(client.Profile{Server: "gate.example", Identifier: wire.Identifier([]byte(id))})
		ok, _ := filepath.Match(filepath.Join("/state/sallyport", want), f.Path)
		if err != nil || !ok {
			t.Errorf("%s: %s, %v", id, f.Path, err)
		}
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/x")
	t.Setenv("STATE_DIRECTORY", "")
	f, err := Nonces(client.Profile{Server: "s", Identifier: wire.Identifier([]byte("com1"))})
	if err != nil || filepath.Dir(f.Path) != "/home/x/.local/state/sallyport" {
		t.Errorf("%s, %v", f.Path, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.toml", data)
		if err != nil {
			return
		}
		text, err := Format(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse("p.toml", text); err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
