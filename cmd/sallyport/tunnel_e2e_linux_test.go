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
// also one whose connections prove themselves. Its own port stays closed to the client's
// other programs.
func TestTunnels(t *testing.T) {
	if !enterPrivileged(t) {
		return
	}
	n := newNetwork(t)
	cert, key := n.certificate()
	upstream := echoEOF(t)
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
		n.operation("bound-alice", "service = \"bound\"\nclient = \""+n.identifier("alice")+"\"\n"))
	alone, err := os.ReadFile(n.path("alice.toml"))
	if err != nil {
		t.Fatal(err)
	}
	n.serve()
	large := strings.Repeat("0123456789abcdef", 1<<14)
	for operation, port := range map[string]string{"echo-alice": "8080", "bound-alice": "8081"} {
		n.operationProfile(operation)
		text, err := os.ReadFile(n.path(operation + ".toml"))
		if err != nil || !strings.Contains(string(text), "\ntunnel = true\n") {
			t.Fatalf("%v, the profile is\n%s", err, text)
		}
		_, tables, _ := strings.Cut(string(text), "[challenge]")
		n.write(operation+"-both.toml", string(alone)+"\n[challenge]"+tables)
		profile := n.path(operation + "-both.toml")
		command := func(input string, args ...string) string {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), n.path("sallyport"), args...)
			cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"), "SSL_CERT_FILE="+cert)
			cmd.Stdin = strings.NewReader(input)
			var out, errs strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := n.client.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s\nserver: %s", args, err, errs.String(), n.log())
			}
			return out.String()
		}
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
			var got []byte
			err := n.client.Do(func() error {
				c, err := net.DialTimeout("tcp", "127.0.0.1:18080", time.Until(netns.Deadline(t)))
				if err != nil {
					return err
				}
				defer c.Close()
				io.WriteString(c, "by forward")
				c.(*net.TCPConn).CloseWrite()
				got, err = io.ReadAll(c)
				return err
			})
			if err != nil || string(got) != "by forward" {
				t.Errorf("%s: forward got %q, %v", operation, got, err)
			}
		}
		f.cmd.Process.Signal(os.Interrupt)
		<-f.done
	}
}
