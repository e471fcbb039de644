package main

import (
	"testing"

	"sallyport/sessions/client"
)

// TestWhyExchange: the reasons of the challenge–response protocol. A challenge shows that
// the server runs, so more is certain than after a knock.
func TestWhyExchange(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(whyServices + "[challenge]\n" + n.operation("ask-nobody", `service = "nobody"`) +
		n.operation("ask-down", `service = "down"`) + n.operation("ask-two", `service = "two"`))
	for _, id := range []string{"ask-nobody", "ask-down", "ask-two"} {
		n.operationProfile(id)
	}
	n.serve()
	path := func(id string) string { return n.path(id + ".toml") }
	expect(t, n.why(n.client, "knock", path("ask-nobody")), client.ReasonNotListening,
		"it did not answer before the request", "no program listens on port 8023")
	expect(t, n.whyOnce(n.client, client.ReasonUpstream, "connect", path("ask-down")), client.ReasonUpstream,
		"closes them in order without a byte", "the program behind")
	n.nft(nil, "table inet f { chain in { type filter hook input priority -10; tcp dport 8080 drop; }; }")
	var o outcome
	n.await("a challenge in time", func() bool { // a busy machine may miss it
		o = n.why(n.client, "knock", path("ask-two"), "--timeout", "500ms", "--attempts", "2")
		return o.Reason != string(client.ReasonNoChallenge)
	})
	expect(t, o, client.ReasonResponseFailed, "does not answer, as before the request", "packets of the responses were lost")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"knock", "connect"} {
		o := n.why(n.client, command, path("ask-two"), "--timeout", "300ms", "--attempts", "1")
		expect(t, o, client.ReasonNoChallenge, "the client received no challenge", "the server does not have operation")
	}
}
