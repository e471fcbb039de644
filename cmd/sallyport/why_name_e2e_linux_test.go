package main

import (
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"sallyport/sessions/client"
)

// TestWhyNoAddress: the resolver knows no address of the server's name, or does not
// answer.
func TestWhyNoAddress(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	for name, text := range map[string]string{
		"resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", "hosts": "198.51.100.1 four\n", "nsswitch.conf": "hosts: files dns\n",
	} {
		if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/etc/" + name); err != nil {
			continue
		}
		if err := unix.Mount(n.path(name), "/etc/"+name, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	n.configure(whyServices, "two=two")
	n.rewrite("two", "none", asClient, "none.example")
	n.rewrite("two", "four", asClient, "four")
	for _, command := range []string{"knock", "connect"} {
		o := n.why(nil, command, n.path("none.toml"))
		if o.Reason != string(client.ReasonNoResolver) || o.ExitCode != 1 {
			t.Errorf("without a resolver: %+v", o)
		}
	}
	denies(t)
	for _, args := range [][]string{{"knock", n.path("none.toml")}, {"connect", n.path("none.toml")}, {"knock", n.path("four.toml"), "-6"}} {
		if o := n.why(nil, args...); o.Reason != string(client.ReasonNoAddress) || o.ExitCode != 1 {
			t.Errorf("%v: %+v", args, o)
		}
	}
}

// denies is a DNS server that knows no name.
func denies(t *testing.T) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			size, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if answer, err := denial(b[:size]); err == nil {
				c.WriteTo(answer, from)
			}
		}
	}()
}

func denial(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) == 0 {
		return nil, fmt.Errorf("no question: %w", err)
	}
	h.Response, h.RCode, h.Authoritative = true, dnsmessage.RCodeNameError, true
	m := dnsmessage.Message{Header: h, Questions: questions}
	return m.Pack()
}
