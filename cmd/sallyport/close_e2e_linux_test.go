package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestClose: "close" ends all that its client has open, of both protocols, and
// nothing of another client; no restart opens it again. run and stay with
// --close do so at their end.
func TestClose(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "10m"
open_max = "10m"
[[service]]
name = "pour"
type = "firewall"
listen = ":5400"
open_for = "10m"
open_max = "10m"
connections = "cut"
[challenge]
` + n.operation("hold-web", "service = \"web\"\nclient = \"com1\"\nopen_for = \"until-closed\""))
	list := "com1 0123456789abcdef0123456789abcdef 0\ncom2 0123456789abcdef0123456789abcdef 0\n"
	if err := os.WriteFile(n.path("gate/clients.txt"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"com1", "com2"} {
		n.run(nil, n.path("sallyportd"), "client", "profile", id, "-c", n.path("gate/sallyportd.toml"), "--out", n.path(id+".toml"))
	}
	n.operationProfile("hold-web")
	n.serve()
	client := func(args ...string) string { return n.run(n.client, n.path("sallyport"), args...) }
	leases := func(id string) (of int) {
		for _, row := range n.leaseRows() {
			if row.Client == id {
				of++
			}
		}
		return of
	}
	n.request("hold-web")
	client("knock", n.path("com1.toml"), "-4")
	client("knock", n.path("com2.toml"), "-4")
	n.await("all leases", func() bool { return leases("com1") == 2 && leases("com2") == 2 })

	out := client("close", n.path("com1.toml"), "-4")
	if out != "sent: sequences that close, to "+asClient+"\n" {
		t.Errorf("close: %s", out)
	}
	n.await("the leases to end", func() bool { return leases("com1") == 0 })
	if leases("com2") != 2 {
		t.Errorf("a client has closed what its neighbour has: %s", n.log())
	}
	n.opens(n.client, asClient+":8080")
	n.opens(n.client, asClient+":5400")
	n.await("the line in the log", func() bool { // written after the record
		return n.logged(`msg="client closed its leases" client=com1 address=198.51.100.2 leases=2`) == 1
	})
	n.end(syscall.SIGKILL)
	n.serve()
	if leases("com1") != 0 {
		t.Error("a restart opens a lease again that its client has closed")
	}
	// Again, with a command that closes at its end, whatever its exit code is.
	n.await("the server to let the client in", func() bool {
		_, err := n.try(n.client, n.path("sallyport"), "knock", n.path("com2.toml"), "-4")
		return err == nil
	})
	out, err := n.try(n.client, n.path("sallyport"), "run", n.path("com2.toml"), "-4", "--close", "--", "sh", "-c", "exit 7")
	if err == nil || err.Error() != "exit status 7" {
		t.Errorf("run: %v, %s", err, out)
	}
	n.await("the leases to end", func() bool { return leases("com2") == 0 && !n.reaches(n.client, asClient+":8080") })
	stays := n.stay("com2", "-4", "--close")
	stays.await("open", 1)
	stays.end(os.Interrupt)
	n.await("the leases of stay to end", func() bool { return leases("com2") == 0 })
	// Without anything open, nothing shows.
	client("close", n.path("com1.toml"), "--json")
	out, err = n.try(n.client, n.path("sallyport"), "close", n.path("hold-web.toml"))
	if err == nil || !strings.Contains(out, "has the challenge–response protocol only") {
		t.Errorf("close by an operation's profile: %v, %s", err, out)
	}
}
