package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

const (
	// jumpRules is an operator's file: two new connections an hour.
	jumpRules = `add table inet sallyport
add chain inet sallyport my-rules
flush chain inet sallyport my-rules
add rule inet sallyport my-rules limit rate 2/hour burst 2 packets accept
add rule inet sallyport my-rules counter drop
`
	// tooMany is how long a connection over the limit is tried.
	tooMany = 300 * time.Millisecond
)

// TestJump: the chain of the operator limits a client that has knocked. The holder
// keeps its rules over restarts, and reports that another program has removed them.
func TestJump(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure("[[service]]\nname = \"pour\"\ntype = \"firewall\"\nlisten = \":5400\"\nopen_for = \"1h\"\njump = \"my-rules\"\n", "all")
	if err := os.WriteFile(n.path("rules.nft"), []byte(jumpRules), 0o600); err != nil {
		t.Fatal(err)
	}
	rules := func() string { return n.run(nil, "nft", "list", "chain", "inet", "sallyport", "my-rules") }
	check := func() string { return n.run(nil, n.path("sallyportd"), "check", "-c", n.path("gate/sallyportd.toml")) }
	limited := func(when string) {
		t.Helper()
		n.knock("all") // which also connects
		n.run(nil, "nft", "-f", n.path("rules.nft"))
		n.opens(n.client, asClient+":5400")
		passed := 0
		for ; passed < 3; passed++ {
			c, err := n.dialUntil(time.Now().Add(tooMany), n.client, "tcp", asClient+":5400")
			if err != nil {
				break
			}
			c.Close()
		}
		if passed > 1 {
			t.Errorf("%s: %d further connections get in", when, passed)
		}
		if strings.Contains(rules(), "counter packets 0 ") {
			t.Errorf("%s: the chain has dropped nothing:\n%s", when, rules())
		}
		if n.reaches(n.stranger, asStranger+":5400") {
			t.Errorf("%s: open to a stranger", when)
		}
	}
	// The file is loaded before the table exists.
	n.run(nil, "nft", "-f", n.path("rules.nft"))
	if out := check(); !strings.Contains(out, "open to anyone until a server") {
		t.Errorf("check before the start: %s", out)
	}
	holder := n.hold()
	n.serve()
	limited("at first")
	out := check()
	if strings.Contains(out, "my-rules has no rules") || !strings.Contains(out, "run through the chain my-rules") {
		t.Errorf("check: %s", out)
	}
	before := rules()
	n.run(nil, "nft", "flush", "chain", "inet", "sallyport", "input")
	n.await("the repair", func() bool { return n.logged("restored") > 0 })
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	holder.Process.Kill()
	holder.Wait()
	n.hold()
	n.serve()
	if after := rules(); after != before {
		t.Errorf("after restarts:\n%s\nbefore:\n%s", after, before)
	}
	if lost := n.counted("rules of the operator's chain are gone"); lost != 0 {
		t.Errorf("the log has lost rules %d times", lost)
	}
	n.run(nil, "nft", "flush", "ruleset")
	n.await("the line about lost rules", func() bool { return n.logged("rules of the operator's chain are gone") > 0 })
	if out := check(); !strings.Contains(out, "your chain my-rules has no rules") {
		t.Errorf("check after a flush: %s", out)
	}
	limited("after a flush")
	if err := n.stop(); err != nil {
		t.Error(err)
	}
}
