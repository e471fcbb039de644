package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// answersFrom reports whether a service on the loopback answers an address.
func answersFrom(network, from, port string) bool {
	var local net.Addr = &net.TCPAddr{IP: net.ParseIP(from)}
	if network == "udp" {
		local = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	c, err := (&net.Dialer{LocalAddr: local, Timeout: time.Second}).Dial(network, "127.0.0.1:"+port)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
	_, err = c.Read(make([]byte, 64))
	return err == nil
}

// serviceText is a service of the type proxy, or of the type web for TCP.
func serviceText(name, protocol, listen, look, upstream string) string {
	text := fmt.Sprintf("[[service]]\nname = %q\nlisten = %q\nlook = %q\nopen_for = \"1h\"\nopen_max = \"1h\"\n", name, listen, look)
	if protocol == "tcp" {
		return text + "type = \"web\"\n"
	}
	return text + fmt.Sprintf("type = \"proxy\"\nprotocol = \"udp\"\nupstream = %q\n", upstream)
}

// startWith starts a server with this text before and after its services.
func startWith(t *testing.T, head, services string) (*victim, []*guest, string) {
	t.Helper()
	dir := t.TempDir()
	guests := makeGuests(t, dir)
	path := filepath.Join(dir, config.FileName)
	text := "ports = 2\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n" + head + services
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startVictim(t, dir), guests, path
}

// challengeText receives the challenge–response protocol without CAP_NET_RAW.
const challengeText = `[challenge]
ports = "300-999"
capture = "sockets"
[challenge.request]
scheme = "ranges"
data_bits = 2
[challenge.response]
scheme = "ranges"
base = 640
data_bits = 2
[[operation]]
id = "alice"
service = "a"
secret = "a secret"
`

// TestWithoutIPv6: on a host without IPv6, ":PORT" and "[::]:PORT" mean IPv4, for
// knocks, captured packets and services of every kind, and both check and the log
// name the reason. An IPv6 address is an error that names it, too.
func TestWithoutIPv6(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	netns.WithoutIPv6(t)
	upstream, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	go func() {
		for buffer := make([]byte, 64); ; {
			n, from, err := upstream.ReadFrom(buffer)
			if err != nil {
				return
			}
			upstream.WriteTo(buffer[:n], from)
		}
	}()
	of := upstream.LocalAddr().String()
	for _, head := range []string{"", "listen = [\"::\"]\n", "listen = [\"0.0.0.0\", \"::\"]\n", "stealth = true\n"} {
		services := serviceText("a", "tcp", ":8080", "closed", "") + serviceText("b", "tcp", "[::]:8081", "filtered", "") +
			serviceText("c", "udp", "[::]:8082", "closed", of) + serviceText("d", "udp", ":8083", "filtered", of)
		services += challengeText
		v, guests, path := startWith(t, head, services)
		if n := strings.Count(v.log(), "no IPv6 on this host"); n != 1 {
			t.Errorf("%q: the log names it %d times:\n%s", head, n, v.log())
		}
		a := guests[0].attempt(t)
		a.send(t, a.from)
		for network, ports := range map[string][]string{"tcp": {"8080", "8081"}, "udp": {"8082", "8083"}} {
			for _, port := range ports {
				netns.Until(t, head+network+port+" to open", func() bool { return answersFrom(network, a.from, port) }, v.log)
			}
		}
		v.stop(t, 1)
		code, out := runCommand(t, "check", "-c", path)
		if code != 0 || !strings.Contains(out, "no IPv6: the server listens on IPv4 only") || strings.Contains(out, "cannot listen") || strings.Contains(out, "cannot open") {
			t.Errorf("%q: check: %s", head, out)
		}
		// With some kernels, a filtered service requires the firewall.
		runCommand(t, "firewall", "clear", "--take-over", "-c", path)
	}
	for _, text := range []string{
		"listen = [\"::1\"]\n" + serviceText("a", "tcp", ":8080", "closed", ""),
		serviceText("a", "tcp", "[::1]:8080", "closed", ""), serviceText("a", "udp", "[2001:db8::1]:8080", "closed", of),
	} {
		dir := t.TempDir()
		makeGuests(t, dir)
		path := filepath.Join(dir, config.FileName)
		text = "ports = 2\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n" + text
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"check", "serve"} {
			code, out := runCommand(t, command, "-c", path)
			if code != 2 || !strings.Contains(out, "requires IPv6, but this host, or its sandbox, has none") {
				t.Errorf("%s: %d, %s", command, code, out)
			}
		}
	}
}
