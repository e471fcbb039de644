package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
	"sallyport/verify/preamble"
)

// TestBoundConnections: with bind = "connection", the connections of connect, run and
// forward prove themselves, and get in. A program behind the client's address does not,
// while the service is open, also for anyone. A program may hold the secret.
func TestBoundConnections(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(fmt.Sprintf(`[[service]]
name = "echo"
type = "proxy"
listen = ":8080"
upstream = %q
bind = "connection"
open_for = "1h"
open_max = "2h"
[[service]]
name = "web"
type = "web"
listen = ":8081"
bind = "connection"
open_to = "anyone"
open_for = "1h"
open_max = "2h"
`, echoAtOnce(t)), "alice=echo", "bob=web")
	n.addOperation("echo-alice", "echo", "alice")
	n.serve()
	alice := n.path("alice.toml")
	stays := func(when, address string) {
		t.Helper()
		if n.reaches(n.client, address) {
			t.Errorf("%s: a connection without a proof gets an answer", when)
		}
	}
	connect := func(text string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), n.path("sallyport"), append([]string{"connect", alice}, args...)...)
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
		cmd.Stdin = strings.NewReader(text)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := n.client.Do(cmd.Start); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("connect: %v\n%s\nserver: %s", err, errs.String(), n.log())
		}
		return out.String()
	}
	const remark = "hint: each connection to the service must prove itself: connect by sallyport connect "
	text, err := n.tryKnock("alice")
	if err != nil || !strings.Contains(text, remark) || !strings.Contains(text, ", sallyport run ") {
		t.Errorf("knock: %v\n%s", err, text)
	}
	text, err = n.try(n.client, n.path("sallyport"), "knock", "--json", alice)
	if err != nil || !strings.Contains(text, `"bind":"connection"`) {
		t.Errorf("knock --json: %v\n%s", err, text)
	}
	stays("after knock", asClient+":8080")
	large := strings.Repeat("0123456789abcdef", 1<<14)
	for _, text := range []string{"a line\n", large} {
		if got := connect(text); got != text {
			t.Errorf("connect got %d bytes, want %d", len(got), len(text))
		}
		stays("after connect", asClient+":8080")
	}
	script := fmt.Sprintf(`set -e; cd '%s'; export XDG_CONFIG_HOME="$PWD/config" XDG_STATE_HOME="$PWD/client-state"
./sallyport profile add bob.toml web
sed -n "s/^secret = '\(.*\)'$/\1/p" bob.toml > key; chmod 600 key
./sallyport profile set web --secret-command -- cat "$PWD/key"
`, n.dir)
	if out := n.run(n.client, "sh", "-c", script); !strings.Contains(out, "removed the key secret from ") {
		t.Error(out)
	}
	out := n.run(n.client, "env", "XDG_CONFIG_HOME="+n.path("config"), n.path("sallyport"), "run", "web", "--", "sh", "-c",
		"curl -s http://{host}:{port}/test1.html && curl -s http://{host}:{port}/test1.html")
	if strings.Count(out, "<html") != 2 {
		t.Errorf("the command of run got %s", out)
	}
	stays("after run", asClient+":8081")

	f := n.forwards(n.client, 1, nil, alice, "8080")
	for range 3 {
		if got, err := f.echoed("127.0.0.1:8080", large); err != nil || got != large {
			t.Errorf("forward: %d bytes, %v", len(got), err)
		}
	}
	stays("beside forward", asClient+":8080")
	f.interrupt()
	n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "--all")
	const missing = "by a client's secret, which this profile does not have: ask the server's administrator"
	if out, err := n.tryKnock("echo-alice"); err != nil || !strings.Contains(out, missing) {
		t.Errorf("knock by an operation alone: %v\n%s", err, out)
	}
	text, err = n.try(n.client, n.path("sallyport"), "connect", n.path("echo-alice.toml"))
	if err == nil || !strings.Contains(text, "requires an identifier and a secret") || !strings.Contains(text, "hint: ask the server's administrator for a profile") {
		t.Errorf("connect by an operation alone: %v\n%s", err, text)
	}
	if got := connect(large, "--protocol", "challenge"); got != large {
		t.Errorf("by an operation: connect got %d bytes, want %d", len(got), len(large))
	}
	const executed = `msg="operation executed" operation=echo-alice `
	before := n.counted(executed)
	out = n.run(n.client, n.path("sallyport"), "run", alice, "--protocol", "challenge", "--once", "--", "/bin/bash", "-c",
		`exec 3<>/dev/tcp/{host}/{port} && printf hello >&3 && head -c 5 <&3`)
	if !strings.Contains(out, "hello") {
		t.Errorf("by an operation: run printed %q", out)
	}
	n.await("the line about the operation", func() bool { return n.logged(executed) > before })
	if got := n.counted(executed) - before; got != 1 {
		t.Errorf("by an operation: run executed it %d times", got)
	}
}

// addOperation adds an operation of a client to the configuration. The client's profile
// then has both.
func (n *network) addOperation(id, service, name string) {
	n.t.Helper()
	table := n.operation(id, fmt.Sprintf("service = %q\nclient = %q\n", service, n.identifier(name)))
	n.appendTo("gate/sallyportd.toml", "[challenge]\n"+table)
	n.operationProfile(id)
	if err := os.Remove(n.path(name + ".toml")); err != nil {
		n.t.Fatal(err)
	}
	n.run(nil, n.path("sallyportd"), "operation", "profile", id, "--with-client", "-c", n.path("gate/sallyportd.toml"), "--out", n.path(name+".toml"))
}

func (n *network) appendTo(name, text string) {
	n.t.Helper()
	f, err := os.OpenFile(n.path(name), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestNotTheServer: the client sends no byte of its data to a program that cannot prove
// that it is the server, and prints what it saw.
func TestNotTheServer(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(`[[service]]
name = "web"
type = "web"
listen = ":8080"
bind = "connection"
open_for = "1h"
open_max = "2h"
[[service]]
name = "down"
type = "proxy"
listen = ":8081"
upstream = "127.0.0.1:9"
bind = "connection"
open_for = "1h"
open_max = "2h"
`, "alice=web", "carol=down")
	n.serve()
	// The end of the client's data does not hide that no program has read it.
	down := n.whyOnce(n.client, client.ReasonReset, "connect", n.path("carol.toml"))
	expect(t, down, client.ReasonReset, "had accepted the proof", "does not run behind a proxy")
	n.rewrite("alice", "misnamed", "service_name = 'web'", "service_name = 'www'")
	o := n.whyOnce(n.client, client.ReasonUnproved, "connect", n.path("misnamed.toml"))
	expect(t, o, client.ReasonUnproved, "resets them without a byte", "does not accept the proof")

	n.rewrite("alice", "impostor", "service = ':8080'", "service = ':9090'")
	received := listenAsImpostor(t, ":9090")
	o = n.why(n.client, "connect", n.path("impostor.toml"))
	expect(t, o, client.ReasonImpostor, "cannot prove that it is the server", "another program has its port")
	if got := <-received; got != preamble.Size {
		t.Errorf("it received %d bytes, want the preamble, %d bytes", got, preamble.Size)
	}

	// The same for forward: after a knock, and for a connection while the lease is fresh.
	f := n.forwards(n.client, 1, nil, n.path("impostor.toml"), "9090")
	if got, err := f.echoed("127.0.0.1:9090", "a password"); got != "" {
		t.Errorf("forward: %q, %v", got, err)
	}
	n.await("the reason", func() bool { return f.failed(client.ReasonImpostor) })
	if got := <-received; got != preamble.Size {
		t.Errorf("it received %d bytes of forward", got)
	}
	f.interrupt()
	f = n.forwards(n.client, 1, nil, n.path("alice.toml"), "8080")
	n.await("an answer", func() bool { return strings.Contains(n.page(n.client, "127.0.0.1:8080", "/test1.html"), "<html") })
	n.stop()
	received = listenAsImpostor(t, ":8080")
	if got, err := f.echoed("127.0.0.1:8080", "a password"); got != "" {
		t.Errorf("forward: %q, %v", got, err)
	}
	n.await("the failure", func() bool { return f.count("failed") > 0 })
	if got := <-received; got != preamble.Size {
		t.Errorf("it received %d bytes of a connection without a knock", got)
	}
}

// failed reports whether forward has printed a reason.
func (f *forwardRun) failed(reason client.Reason) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.events, func(e forwardEvent) bool { return e.Event == "failed" && e.Reason == string(reason) })
}

// listenAsImpostor answers preambles without the secret. It returns how many bytes each
// connection sends, unless it sends none.
func listenAsImpostor(t *testing.T, address string) (received chan int) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	received = make(chan int, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(netns.Deadline(t))
				if m, err := io.ReadFull(c, make([]byte, preamble.Size)); m == 0 {
					return // the client has abandoned it
				} else if err != nil {
					received <- m
					return
				}
				c.Write(make([]byte, preamble.AnswerSize))
				more, _ := io.Copy(io.Discard, c)
				received <- preamble.Size + int(more)
			}()
		}
	}()
	return received
}
