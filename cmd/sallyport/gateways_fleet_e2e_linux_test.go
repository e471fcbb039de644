package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/fleet/etcdtest"
)

// TestGatewaysThatDie: while forward and stay run, the gateway that has opened the service
// dies, and the other one opens it: one that refuses, and one that is silent. The
// connections of forward prove themselves, with the key for each gateway. An exchange is
// split over both by the profile of its operation, and check finds no fault of the relay.
func TestGatewaysThatDie(t *testing.T) {
	if !enter(t) {
		return
	}
	const second = "198.51.100.4" // the address of the second gateway
	n := newNetwork(t)
	n.run(nil, "ip", "address", "add", second+"/24", "dev", "toclient")
	e := etcdtest.Start(t, etcdtest.Options{})
	upstream := echoAtOnce(t)
	config := func(name, address string) string {
		return fmt.Sprintf(`listen = [%[2]q]
[[service]]
name = "echo"
type = "proxy"
listen = "%[2]s:8080"
upstream = %[3]q
bind = "connection"
open_for = "1h"
open_max = "2h"
[[service]]
name = "web"
type = "web"
listen = "%[2]s:8081"
open_for = "1h"
open_max = "2h"
[fleet]
name = %[1]q
endpoints = [%[4]q]
client_keys = "gateway"
gateways = ["gw1=%[5]s", "gw2=%[6]s"]
relay = ["gw1=127.0.0.1:900", "gw2=127.0.0.2:900"]
relay_key_file = %[7]q
[challenge]
[[operation]]
id = "web-split"
secret = "the secret of the operation"
service = "web"
`, name, address, upstream, e.Gateway(t).Endpoints()[0], asClient, second, n.path("relay.key"))
	}
	if err := os.WriteFile(n.path("relay.key"), []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	n.configure(config("gw1", asClient), "alice=echo", "bob=web")
	n.serve()
	n.run(nil, n.path("sallyportd"), "init", n.path("gate2"), "--server", second)
	text := fmt.Sprintf("version = 1\nports = 3\nport_secret_file = %q\nclients = %q\n%s", n.path("gate/port_secret"), n.path("gate/clients.txt"), config("gw2", second))
	if err := os.WriteFile(n.path("gate2/sallyportd.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(n.path("log2"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	other := exec.Command(n.path("sallyportd"), "serve", "-c", n.path("gate2/sallyportd.toml"))
	other.Stderr = log
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	n.await("the second gateway", func() bool {
		text, _ := os.ReadFile(n.path("log2"))
		return strings.Contains(string(text), "msg=serving")
	})

	relayed := func(when string) {
		t.Helper()
		out := n.run(nil, n.path("sallyportd"), "check", "--json", "-c", n.path("gate/sallyportd.toml"))
		if strings.Contains(out, "fleet-relay") {
			t.Errorf("%s: %s", when, out)
		}
	}
	n.run(nil, n.path("sallyportd"), "operation", "profile", "web-split", "-c", n.path("gate/sallyportd.toml"), "--out", n.path("split.toml"))
	// Each gateway may be the coordinator, and a view may be a second old.
	var by []string
	for _, gateway := range []string{"gw1", "gw2"} {
		out, err := n.try(n.client, n.path("sallyport"), "knock", "--json", n.path("split.toml"))
		if err != nil {
			t.Errorf("a split exchange: %v\n%s\n%s", err, out, n.log())
		} else if strings.Contains(out, `"gateway":"`+gateway+`"`) {
			by = append(by, gateway)
		}
	}
	if len(by) != 1 {
		t.Errorf("split exchanges of one address have opened at %q", by)
	}
	relayed("while both run")

	f := n.forwards(n.client, 1, nil, n.path("alice.toml"), "8080", "--timeout", "2s")
	s := n.stay("bob", "--every", "1s", "--timeout", "2s")
	opened := func(at string) (count int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			if e.Event == "open" && e.Service == at+":8080" {
				count++
			}
		}
		return count
	}
	stays := func(at string) bool {
		all := s.events()
		for i := len(all) - 1; i >= 0; i-- {
			if e := all[i].Event; e == "open" || e == "renewed" {
				return all[i].Address == at
			}
		}
		return false
	}
	uses := func(what, gateway string) {
		t.Helper()
		before := opened(gateway)
		netns.Until(t, "forward by "+what, func() bool {
			got, err := f.echoed("127.0.0.1:8080", what)
			return err == nil && got == what && opened(gateway) > before
		}, n.log, func() string { return fmt.Sprintf("%+v", f.events) })
		netns.Until(t, "stay by "+what, func() bool { return stays(gateway) }, s.text)
		if !n.reaches(n.client, gateway+":8081") {
			t.Errorf("%s: the service of stay is closed", what)
		}
		if n.reaches(n.client, gateway+":8080") {
			t.Errorf("%s: a connection without a proof gets an answer", what)
		}
	}
	uses("the first gateway", asClient)
	n.server.Process.Kill()
	n.stop()
	relayed("in place of the one that died")
	uses("the second gateway", second)
	n.serve()
	n.run(nil, "nft", "add table ip hole; add chain ip hole in { type filter hook input priority -300; }; add rule ip hole in ip daddr "+second+" drop")
	uses("the first gateway again", asClient)
	f.interrupt()
	s.end(os.Interrupt)
}
