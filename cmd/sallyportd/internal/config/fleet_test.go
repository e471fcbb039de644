package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const fleetText = `[fleet]
name = "gateway1"
endpoints = ["https://etcd1.example:2379", "https://etcd2.example:2379"]
ca = "ca.pem"
user = "gateway1"
password_file = "password"
`

func TestFleet(t *testing.T) {
	if c := must(Parse("c.toml", []byte(minimal))); c.Fleet != nil {
		t.Error("a fleet by default")
	}
	dir := files(t, map[string]string{"c.toml": minimal + fleetText, "password": "swordfish\n"})
	c, err := Load(filepath.Join(dir, "c.toml"), Secrets)
	if err != nil {
		t.Fatal(err)
	}
	e := c.Fleet.Etcd
	if c.Fleet.Name != "gateway1" || len(e.Endpoints) != 2 || e.CA != filepath.Join(dir, "ca.pem") || e.User != "gateway1" ||
		e.Password != "swordfish" || e.Prefix != "/sallyport/" || e.Timeout != 2*time.Second {
		t.Errorf("got %+v", e)
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := Load(filepath.Join(dir, "c.toml"), Secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range []*Config{next, must(Parse(filepath.Join(dir, "c.toml"), []byte(minimal)))} {
		err := c.Changed(next, false)
		if err == nil || !strings.Contains(err.Error(), "fleet") || strings.Contains(err.Error(), "another") {
			t.Errorf("a change: got %v", err)
		}
	}
}

func TestFleetRefuses(t *testing.T) {
	for _, row := range []struct{ old, new, want string }{
		{`name = "gateway1"` + "\nend", "end", "name: expected the name of this server in the fleet"},
		{`"gateway1"` + "\nend", `"a/b"` + "\nend", `got "a/b"`},
		{`endpoints = ["https://etcd1.example:2379", "https://etcd2.example:2379"]`, "", "endpoints: expected a list"},
		{"https://etcd2.example:2379", "https://etcd1.example:2379", "occurs twice"},
		{"https://etcd2", "http://etcd2", "only a loopback address is allowed"},
		{`user = "gateway1"`, "", "user: expected the name of a user of etcd"},
		{`password_file = "password"`, "", "password_file: expected the path"},
		{"ca =", "certificate =", "key: expected the path"},
		{"ca =", "prefix =", "ends with a slash"},
		{"ca =", "client_keys = \"x\"\nca =", "client_keys: expected"},
		{"ca =", "client_keys = \"gateway\"\ngateways = [\"gateway1\"]\nca =", `got "gateway1" (entry 1)`},
		{"ca =", "client_keys = \"gateway\"\ngateways = [\"gateway2=gw2.example\"]\nca =", `got none with the name "gateway1"`},
		{"ca =", "client_keys = \"gateway\"\ngateways = [\"gateway1=gw1.example\", \"gateway1=gw2.example\"]\nca =", "(entry 2): the name"},
		{"ca =", "client_keys = \"gateway\"\ngateways = [\"gateway1=$(id)\"]\nca =", "(entry 1): expected the host name"},
		{"ca =", "timeout =", "timeout: expected a duration"},
	} {
		text := strings.Replace(fleetText, row.old, row.new, 1)
		if text == fleetText {
			t.Fatalf("the text does not contain %q", row.old)
		}
		if _, err := Parse("c.toml", []byte(minimal+text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.new, err, row.want)
		}
	}
	_, err := Parse("c.toml", []byte("durability = \"relaxed\"\n"+minimal+fleetText))
	if err == nil || !strings.Contains(err.Error(), `c.toml:1: durability: expected "strict"`) {
		t.Errorf("relaxed: got %v", err)
	}
}

// TestSpread: a service opens at all servers only in a fleet, and with a fixed port.
func TestSpread(t *testing.T) {
	const all = "spread = \"all\"\n"
	if c := must(Parse("c.toml", []byte(minimal+all+fleetText))); !c.Services[0].Shared {
		t.Error("the service opens at one server only")
	}
	if c := must(Parse("c.toml", []byte(minimal+fleetText))); c.Services[0].Shared {
		t.Error("a service opens at all servers by default")
	}
	rotates := strings.Replace(minimal, `"127.0.0.1:8080"`, "\"127.0.0.1:0\"\nport = \"rotate\"", 1)
	for text, want := range map[string]string{
		minimal + all: `got "all" without [fleet]`, rotates + all + fleetText: `got "all" with port = "rotate"`,
		minimal + "spread = \"some\"\n" + fleetText: `spread: expected "local" or "all"`,
	} {
		if _, err := Parse("c.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestClientKeys: with client_keys = "gateway", a client's secret is nothing at a server,
// and its key for that gateway is.
func TestClientKeys(t *testing.T) {
	secret := []byte("com1_secret")
	for keys, want := range map[string]string{
		"": "com1_secret", "gateways = [\"gw1=192.0.2.1\"]\n": "com1_secret", "client_keys = \"secret\"\n": "com1_secret",
		// Of verify/wire/testdata/gateways.json.
		"client_keys = \"gateway\"\ngateways = [\"gw2=gw2.example\", \"gw1=192.0.2.1\"]\n": "97e47426439f4ae9d37a914a9c67044c907f34d1c24ae922b173b52bbde50584",
	} {
		text := strings.Replace(fleetText, `"gateway1"`, `"gw1"`, 1)
		c := must(Parse("c.toml", []byte(minimal+strings.Replace(text, "ca =", keys+"ca =", 1))))
		if got := string(c.ClientKey(secret)); got != want || len(c.ClientKey(nil)) != 0 {
			t.Errorf("%q: got %s", keys, got)
		}
		if len(c.Fleet.Gateways) != 2*strings.Count(keys, "gw2=") {
			t.Errorf("%q: %v", keys, c.Fleet.Gateways)
		}
	}
}
