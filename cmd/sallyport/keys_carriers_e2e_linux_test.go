package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"sallyport/verify/challenge/exchange"
)

// TestPublicKeysByAllCarriers: with public keys and hop, a client gets in over HTTPS, over
// DNS by a random port, and by packets to a service with bind = "isn"; with the last of 16
// keys, an encrypted key, an agent, and one key for two operations. A signature that the
// agent refuses ends the command at once.
func TestPublicKeysByAllCarriers(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	for _, program := range []string{"ssh-keygen", "ssh-agent", "ssh-add"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("requires openssh-client: ", err)
		}
	}
	n := newISNNetwork(t)
	n.certificate()
	n.run(nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", n.path("alice"))
	n.run(nil, "ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", "open sesame", "-f", n.path("locked"))
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(n.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	keys := read("alice.pub")
	for range exchange.MaxKeys - 2 {
		var k exchange.PublicKey
		rand.Read(k.Key[:])
		keys += k.String() + "\n"
	}
	n.write("keys", keys+read("locked.pub"))
	n.run(nil, n.path("sallyportd"), "host-key", "create", n.path("host.key"))
	operation := func(id, more string) string {
		return fmt.Sprintf("[[operation]]\nid = %q\nkeys_file = %q\n%s\n", id, n.path("keys"), more)
	}
	if err := os.RemoveAll(n.path("gate")); err != nil { // another configuration
		t.Fatal(err)
	}
	n.configure(fmt.Sprintf(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[[service]]
name = "ssh"
type = "firewall"
listen = ":22"
bind = "isn"
open_for = "60s"
[challenge]
ports = "8192-32767"
hop = 1000
public_address = [%q, "2001:db8::1"]
host_key_file = %q
[challenge.request]
restart = 20
[challenge.response]
restart = 20
[[challenge.http]]
listen = ":443"
host = %q
tls_cert = %q
tls_key = %q
[challenge.dns]
listen = ":53"
zone = %q
servers = ["ns.example.org"]
`, asClient, n.path("host.key"), siteName, n.path("cert.pem"), n.path("key.pem"), zoneName) +
		operation("web-keys", "service = \"web\"") + operation("random-keys", "service = \"web\"\nport = \"random\"") +
		operation("ssh-keys", "service = \"ssh\""))
	key := regexp.MustCompile(`(?m)^agent = true$`)
	servers := regexp.MustCompile(`(?m)^dns_servers =.*$`)
	for _, id := range []string{"web-keys", "random-keys", "ssh-keys"} {
		n.operationProfile(id)
		text := servers.ReplaceAllString(n.named(read(id+".toml")), fmt.Sprintf("dns_servers = [%q]", asClient))
		if id == "random-keys" && !strings.Contains(text, "dns_servers") {
			text = strings.Replace(text, "agent = true", fmt.Sprintf("agent = true\ndns_servers = [%q]", asClient), 1)
		}
		n.write(id+".toml", text)
		n.write(id+"-file.toml", key.ReplaceAllString(text, fmt.Sprintf("key = %q", n.path("locked"))))
	}
	n.serve()
	agent := exec.Command("ssh-agent", "-D", "-a", n.path("agent"))
	agent.Env = []string{"PATH=" + os.Getenv("PATH")} // nothing can ask a person
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer agent.Wait()
	defer agent.Process.Kill()
	n.await("the agent", func() bool { return accepts(n.path("agent")) })
	os.Setenv("SSH_AUTH_SOCK", n.path("agent")) // of this process, which runs no other test
	knock := func(id string, args ...string) (string, error) {
		return n.try(n.client, "env", append([]string{"SSL_CERT_FILE=" + n.path("cert.pem"), n.path("sallyport"), "knock", n.path(id + ".toml"), "-v"}, args...)...)
	}
	byFile := func(id string, args ...string) (string, error) {
		command := fmt.Sprintf("echo open sesame | %s knock %s -v --passphrase-fd 0 %s", n.path("sallyport"), n.path(id+"-file.toml"), strings.Join(args, " "))
		return n.try(n.client, "sh", "-c", command)
	}

	n.run(nil, "ssh-add", "-q", "-c", n.path("alice"))
	out, err := knock("web-keys", "--carrier", "https")
	if err == nil || !strings.Contains(out, "the SSH agent refused to sign with SHA256:") || strings.Contains(out, "attempt 2") {
		t.Errorf("an agent that must ask a person: %v\n%s", err, out)
	}
	n.run(nil, "ssh-add", "-q", "-D")
	n.run(nil, "ssh-add", "-q", n.path("alice"))
	out, err = knock("web-keys", "--carrier", "https", "--json")
	if err != nil || !strings.Contains(out, `"opened":true`) || !strings.Contains(out, `"carrier":"https"`) {
		t.Errorf("the agent, over HTTPS: %v\n%s\n%s", err, out, n.log())
	}
	out, err = byFile("random-keys", "--carrier", "dns", "--json")
	if err != nil || !strings.Contains(out, `"one_connection":true`) || !strings.Contains(out, `"carrier":"dns"`) {
		t.Errorf("a file, over DNS: %v\n%s\n%s", err, out, n.log())
	}
	if c := n.connects(n.client, "ssh-keys", "--carrier", "udp"); !c.lives() {
		t.Error("a connection with the number of the exchange is dead")
	}
	if n.greets(n.client, "22") {
		t.Error("a connection without the number got in")
	}
	still := regexp.MustCompile(`(?m)^hop.*\n`).ReplaceAllString(read("web-keys.toml"), "")
	n.write("still.toml", still)
	out, err = knock("still", "--carrier", "https", "--attempts", "1")
	if err == nil || !strings.Contains(out, "received no challenge") && !strings.Contains(out, "404") {
		t.Errorf("a client that does not hop: %v\n%s", err, out)
	}
}
