package main

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestOperationsWithPublicKeys: clients with keys that ssh-keygen made get in, by
// ssh-agent or by a file, also on a random port; and no longer once
// the key is gone from the file on the server. The server has no secret of theirs.
func TestOperationsWithPublicKeys(t *testing.T) {
	if !enter(t) {
		return
	}
	for _, program := range []string{"ssh-keygen", "ssh-agent", "ssh-add"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("requires openssh-client: ", err)
		}
	}
	n := newNetwork(t)
	for _, name := range []string{"alice", "bob"} {
		n.run(nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", n.path(name))
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(n.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("keys", "# the staff\n"+read("alice.pub")+read("bob.pub"))
	n.run(nil, n.path("sallyportd"), "host-key", "create", n.path("host.key"))
	n.configure(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[[service]]
name = "page"
type = "web"
listen = "[::]:8400"
open_for = "60s"
[challenge]
host_key_file = "` + n.path("host.key") + `"
[challenge.request]
restart = 20
[challenge.response]
restart = 20
` + n.operation("with-secret", "service = \"web\"") + `[[operation]]
id = "web-staff"
service = "web"
keys_file = "` + n.path("keys") + `"
[[operation]]
id = "random-page"
service = "page"
port = "random"
keys_file = "` + n.path("keys") + `"
`)
	for _, id := range []string{"web-staff", "random-page", "with-secret"} {
		n.operationProfile(id)
	}
	profile := read("web-staff.toml")
	if strings.Contains(profile, "secret") || !strings.Contains(profile, "agent = true") || !strings.Contains(profile, "sallyport-host-key-1:") {
		t.Errorf("the profile is\n%s", profile)
	}
	n.serve()
	socket := "" // of the agent
	knock := func(id string, args ...string) (string, error) {
		return n.try(n.client, "env", append([]string{"SSH_AUTH_SOCK=" + socket, n.path("sallyport"), "knock", n.path(id + ".toml"), "-v"}, args...)...)
	}
	opens := func(id string, wants bool, args ...string) {
		t.Helper()
		out, err := knock(id, args...)
		if (err == nil) != wants {
			t.Fatalf("%s: %v\n%s\n%s", id, err, out, n.log())
		}
	}
	opens("with-secret", true)
	// Without an agent, the client sends nothing.
	if out, err := knock("web-staff"); err == nil || !strings.Contains(out, "SSH_AUTH_SOCK is not set") {
		t.Errorf("without an agent: %v\n%s", err, out)
	}
	agent := exec.Command("ssh-agent", "-D", "-a", n.path("agent"))
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer agent.Wait()
	defer agent.Process.Kill()
	n.await("the agent", func() bool { return accepts(n.path("agent")) })
	socket = n.path("agent")
	n.run(nil, "env", "SSH_AUTH_SOCK="+socket, "ssh-add", "-q", n.path("bob"))
	opens("web-staff", true)
	knock("random-page", "--no-watch")
	n.await("the random port", func() bool { return strings.Contains(n.log(), "operation=random-page") })
	// A file in place of the agent.
	withFile := func(name, key string) {
		write(name+".toml", strings.Replace(profile, "agent = true", `key = "`+n.path(key)+`"`, 1))
	}
	withFile("by-file", "alice")
	opens("by-file", true)
	withFile("by-other", "agent")
	opens("by-other", false)
	// A key that the server does not know; the device's profile cannot prevent that.
	n.run(nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", n.path("mallory"))
	write("mallory.toml", strings.Replace(strings.Replace(profile, "agent = true", `key = "`+n.path("mallory")+`"`, 1),
		strings.Join(strings.Fields(read("alice.pub"))[:2], " "), strings.Join(strings.Fields(read("mallory.pub"))[:2], " "), 1))
	proofs := n.counted("operation executed")
	if out, err := knock("mallory", "--attempts", "1", "--timeout", "2s"); !strings.Contains(out, "response") {
		t.Errorf("with another key: %v\n%s", err, out) // the service is open for the address already
	}
	// A key that was removed.
	write("keys", read("alice.pub"))
	n.run(nil, n.path("sallyportd"), "reload", "-c", n.path("gate/sallyportd.toml"))
	opens("web-staff", false, "--attempts", "1", "--timeout", "2s")
	if got := n.counted("operation executed"); got != proofs {
		t.Errorf("%d operations were executed by wrong keys\n%s", got-proofs, n.log())
	}
	opens("by-file", true)
}

// accepts reports whether a program accepts connections at a Unix socket: the file is there
// before it does.
func accepts(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
