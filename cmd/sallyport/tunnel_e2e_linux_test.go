package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestTunnels: connect, run and forward reach a service through the web listener alone,
// also one whose connections prove themselves, and a program behind the firewall. Its own
// port stays closed to the client's other programs.
func TestTunnels(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	cert, key := n.certificate()
	upstream := echoAtOnce(t)
	echoEOFAt(t, "[::]:8082")
	n.configure(fmt.Sprintf(`[[service]]
name = "echo"
type = "proxy"
listen = ":8080"
upstream = %q
open_for = "1m"
[[service]]
name = "bound"
type = "proxy"
listen = ":8081"
upstream = %q
bind = "connection"
open_for = "1m"
[[service]]
name = "guarded"
type = "firewall"
listen = ":8082"
open_for = "1m"
`, upstream, upstream), "alice")
	n.appendTo("gate/sallyportd.toml", fmt.Sprintf(`[challenge]
capture = "none"
public_address = [%q]
[[challenge.http]]
listen = ":443"
host = %q
tls_cert = %q
tls_key = %q
tunnel = true
`, asClient, asClient, cert, key)+n.operation("echo-alice", "service = \"echo\"\nclient = \""+n.identifier("alice")+"\"\n")+
		n.operation("bound-alice", "service = \"bound\"\nclient = \""+n.identifier("alice")+"\"\n")+
		n.operation("guarded-alice", "service = \"guarded\"\nclient = \""+n.identifier("alice")+"\"\n"))
	alone, err := os.ReadFile(n.path("alice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	n.serve()
	large := strings.Repeat("0123456789abcdef", 1<<14)
	for operation, port := range map[string]string{"echo-alice": "8080", "bound-alice": "8081", "guarded-alice": "8082"} {
		n.operationProfile(operation)
		text, err := os.ReadFile(n.path(operation + ".toml"))
		if err != nil || !strings.Contains(string(text), "\ntunnel = true\n") {
			t.Fatalf("%v, the profile is\n%s", err, text)
		}
		_, tables, _ := strings.Cut(string(text), "[challenge]")
		n.write(operation+"-both.toml", string(alone)+"\n[challenge]"+tables)
		profile := n.path(operation + "-both.toml")
		command := func(input string, args ...string) string { return n.byWeb(cert, input, args...) }
		if got := command(large, "connect", "--protocol", "challenge", profile); got != large {
			t.Errorf("%s: connect got %d bytes, want %d", operation, len(got), len(large))
		}
		if n.reaches(n.client, asClient+":"+port) {
			t.Errorf("%s: the service's own port answers", operation)
		}
		if got := command("", "run", "--protocol", "challenge", profile, "--", "/bin/bash", "-c",
			`exec 3<>/dev/tcp/{host}/{port} && printf hello >&3 && echo {host}`); !strings.Contains(got, "127.0.0.1") {
			t.Errorf("%s: run printed %q", operation, got)
		}
		f := n.forwards(n.client, 1, []string{"/usr/bin/env", "SSL_CERT_FILE=" + cert}, "--protocol", "challenge", profile, "18080:"+port)
		for range 2 {
			if got, err := n.echoed("127.0.0.1:18080", "by forward"); err != nil || got != "by forward" {
				t.Errorf("%s: forward got %q, %v", operation, got, err)
			}
		}
		f.cmd.Process.Signal(os.Interrupt)
		<-f.done
	}

	// By default, the client knocks, and goes on to the web where the network drops the
	// knocks: then all three commands go through the tunnel.
	n.run(nil, "nft", "table inet only { chain in { type filter hook input priority 0; iifname toclient meta l4proto udp drop; iifname toclient tcp dport != 443 drop; }; }")
	for i, operation := range []string{"echo-alice", "bound-alice"} {
		profile, flags := n.path(operation+"-both.toml"), []string{"--attempts", "1", "--timeout", "500ms"}
		command := func(input string, args ...string) string {
			return n.byWeb(cert, input, append(args[:1:1], append(flags, args[1:]...)...)...)
		}
		remembered := n.path("client-state/sallyport/carriers")
		if err := os.Remove(remembered); err != nil && i > 0 {
			t.Error(err)
		}
		run := []string{"run", profile, "--", "/bin/bash", "-c", `exec 3<>/dev/tcp/{host}/{port} && printf hello >&3 && head -c 5 <&3 && echo {host}`}
		if got := command("", run...); got != "hello127.0.0.1\n" {
			t.Errorf("%s: run printed %q", operation, got)
		}
		if i == 0 { // nothing but a connection of the command confirms the knocks
			os.Remove(remembered)
			text, err := os.ReadFile(profile)
			if err != nil {
				t.Fatal(err)
			}
			n.write("unwatched.toml", "watch = \"none\"\n"+string(text))
			run[1] = n.path("unwatched.toml")
			if got := command("", run...); got != "hello127.0.0.1\n" {
				t.Errorf("run, without a watch, printed %q", got)
			}
			os.Remove(remembered)
			out, err := n.try(n.client, n.path("sallyport"), "knock", run[1], "--attempts", "1")
			if err != nil || !strings.Contains(out, "has not gone on to HTTPS") {
				t.Errorf("knock, without a watch: %v, %s", err, out)
			}
		}
		if err := os.Remove(remembered); err != nil && i > 0 {
			t.Error(err)
		}
		if got := command("hello", "connect", profile); got != "hello" {
			t.Errorf("%s: connect got %q", operation, got)
		}
		f := n.forwards(n.client, 1, []string{"/usr/bin/env", "SSL_CERT_FILE=" + cert}, append(flags, profile, "18080:"+[]string{"8080", "8081"}[i])...)
		if got, err := n.echoed("127.0.0.1:18080", "by forward"); err != nil || got != "by forward" {
			t.Errorf("%s: forward got %q, %v", operation, got, err)
		}
		f.cmd.Process.Signal(os.Interrupt)
		<-f.done
	}
}

// echoAtOnce is an upstream that sends back each byte.
func echoAtOnce(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// byWeb runs a command of the client, which trusts a certificate, and returns its output.
func (n *network) byWeb(cert, input string, args ...string) string {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), n.path("sallyport"), args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"), "SSL_CERT_FILE="+cert)
	cmd.Stdin = strings.NewReader(input)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := n.client.Do(cmd.Start); err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		n.t.Errorf("%s: %v\n%s\nserver: %s", args, err, errs.String(), n.log())
	}
	return out.String()
}

// echoed sends a text to an address of the client's network, and returns the answer.
func (n *network) echoed(to, text string) (string, error) {
	var got []byte
	err := n.client.Do(func() error {
		c, err := net.DialTimeout("tcp", to, time.Until(netns.Deadline(n.t)))
		if err != nil {
			return err
		}
		defer c.Close()
		io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
		got, err = io.ReadAll(c)
		return err
	})
	return string(got), err
}
