package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/verify/wire"
)

// TestGateways: the client goes on to the next gateway of its profile, whether one is
// silent, refuses or has another key; it begins with the one that has answered last, and
// closes at all.
func TestGateways(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "10m"
`)
	const secret, hole = "0123456789abcdef0123456789abcdef", "198.51.100.9"
	key, err := wire.GatewayKey([]byte(secret), "gw2")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gate/clients.txt", "com1 "+string(key)+" 0\n")
	n.run(nil, n.path("sallyportd"), "client", "profile", "com1", "-c", n.path("gate/sallyportd.toml"), "--out", n.path("plain.toml"))
	plain, err := os.ReadFile(n.path("plain.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^(server|addresses) = .*\n`).ReplaceAllString(string(plain), "")
	if text = strings.Replace(text, string(key), secret, 1); !strings.Contains(text, secret) {
		t.Fatal("the profile has another form")
	}
	// Packets to one address vanish, and at the client's nothing listens.
	n.run(nil, "ip", "address", "add", hole+"/24", "dev", "toclient")
	n.run(nil, "nft", "add table ip hole; add chain ip hole in { type filter hook input priority -300; }; add rule ip hole in ip daddr "+hole+" drop")
	for _, g := range [][2]string{{"hole", hole}, {"refusing", "198.51.100.2"}, {"other-key", asClient}, {"gw2", asClient}} {
		text += "[[gateways]]\nname = \"" + g[0] + "\"\nserver = \"" + g[1] + "\"\n"
	}
	write("fleet.toml", text)
	n.serve()
	try := func(command string, more ...string) (string, error) {
		return n.try(n.client, n.path("sallyport"), append([]string{command, n.path("fleet.toml")}, more...)...)
	}
	out, err := try("knock", "--timeout", "500ms", "--json")
	if err != nil || !strings.Contains(out, `"gateway":"gw2"`) {
		t.Fatalf("%v: %s\n%s", err, out, n.log())
	}
	steps := []string{"gateway hole: ", "; trying gateway refusing", "; trying gateway other-key", "; trying gateway gw2"}
	for _, text := range steps {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in\n%s", text, out)
		}
	}
	if out, err = try("close", "--gateway", "gw2"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.await("the lease to end", func() bool { return len(n.leaseRows()) == 0 })
	out, err = try("knock", "--timeout", "1s")
	if err != nil || strings.Contains(out, "trying") || !strings.Contains(out, "open") {
		t.Errorf("the next knock: %v, %s", err, out)
	}
	out, err = try("knock", "--gateway", "gw9")
	if err == nil || !strings.Contains(out, "expected one of hole, refusing, other-key, gw2") {
		t.Errorf("an unknown gateway: %v, %s", err, out)
	}
	second := time.Now().Unix()
	out, err = try("close")
	if time.Now().Unix() == second {
		t.Error("a knock after close can have the same second, and would open at one gateway only")
	}
	if err != nil || !strings.Contains(out, "to 4 gateways") || !strings.Contains(out, "gateway refusing: ") {
		t.Errorf("close: %v, %s", err, out)
	}
	n.await("the lease to end", func() bool { return len(n.leaseRows()) == 0 })
	out, err = try("run", "--once", "--", "echo", "{host}:{port}")
	if err != nil || !strings.Contains(out, asClient+":8080") {
		t.Errorf("run: %v, %s", err, out)
	}
}
