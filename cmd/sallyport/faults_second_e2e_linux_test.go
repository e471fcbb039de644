package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// TestOtherServer: a second server of the host has another configuration, but the port of a
// service, the firewall's table or the state directory of the first. It does not get it, and
// the first goes on.
func TestOtherServer(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(faultyWeb+strings.ReplaceAll(fmt.Sprintf(pour, "60s"), "type", "open_max = \"60s\"\ntype"), "all")
	n.serve()
	text, err := os.ReadFile(n.path("gate/sallyportd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	others := strings.NewReplacer(":8080", ":8081", ":5400", ":5401").Replace(config)
	n.knock("all")
	rows := []struct{ name, config, want string }{
		{"table", others, "start the firewall's holder: the firewall's holder: refused: another process guards the firewall's table"},
		{"port", config[:strings.LastIndex(config, "[[service]]")], "service port unavailable; service stays closed; retrying"},
		{"state", "state_dir = \"" + n.path("gate/state") + "\"\n" + others, "is in use by another process"},
	}
	var second sync.WaitGroup
	for _, row := range rows {
		dir := n.path("second-" + row.name)
		n.run(nil, n.path("sallyportd"), "init", dir, "--server", asClient)
		if err := os.WriteFile(dir+"/sallyportd.toml", []byte(row.config), 0o600); err != nil {
			t.Fatal(err)
		}
		second.Go(func() {
			out, err := n.try(nil, "timeout", "15", n.path("sallyportd"), "serve", "-c", dir+"/sallyportd.toml")
			if err == nil || !strings.Contains(out, row.want) {
				t.Errorf("%s: %v, %s", row.name, err, out)
			}
		})
	}
	rules := n.run(nil, "nft", "list", "chain", "inet", "sallyport", "owner")
	second.Wait()
	n.opens(n.client, asClient+":5400") // by the lease from before
	n.within("all", func() {}, func() bool { return n.reaches(n.client, asClient+":8080") })
	if now := n.run(nil, "nft", "list", "chain", "inet", "sallyport", "owner"); now != rules {
		t.Errorf("the table was replaced:\n%s\nbefore:\n%s", now, rules)
	}
	if n.reaches(n.stranger, asStranger+":8080") || n.reaches(n.stranger, asStranger+":5400") {
		t.Error("open to a stranger")
	}
	if err := n.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}
