package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// TestLinkComesAndGoes: the interface with the address of the knock ports and of a service
// is removed, and made again. Nothing opens to a stranger, and the next sequence opens all
// services, and the next exchange its own, without a new start.
func TestLinkComesAndGoes(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	at := strings.NewReplacer("\"web\"\ntype", "\"at\"\ntype", ":8080", asClient+":8081").Replace(faultyWeb)
	n.configure("listen = [\""+asClient+"\"]\n"+faultyWeb+at+fmt.Sprintf(pour, "5s")+
		"[challenge]\n"+n.operation("web-alice-", "service = \"web\""), "all")
	n.operationProfile("web-alice-")
	n.serve()
	all := func() bool {
		return n.reaches(n.client, asClient+":8080") && n.reaches(n.client, asClient+":8081") && n.reaches(n.client, asClient+":5400")
	}
	n.within("all", func() {}, all)
	link, err := netlink.LinkByName("toclient")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	n.closes("web", "at", "pour") // leases end without the interface
	for _, port := range []string{":8080", ":8081", ":5400"} {
		if n.reaches(n.stranger, asStranger+port) {
			t.Errorf("%s is open to a stranger", port)
		}
	}
	netns.Connect(t, netns.End{Name: "toclient", Addresses: []string{asClient + "/24"}}, n.client,
		netns.End{Name: "client", Addresses: []string{"198.51.100.2/24"}})
	n.within("all", func() {}, all)
	n.closes("web")
	if out, err := n.knockBy(n.client, "web-alice-"); err != nil {
		t.Errorf("an exchange at the new interface: %v, %s", err, out)
	}
}
