package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestStealthReload: a reload changes stealth and its exceptions in the firewall.
// A server without a holder refuses, and names the
// reason.
func TestStealthReload(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	outside := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "inner", Addresses: []string{"198.51.100.1/24"}}, outside,
		netns.End{Name: "outer", Addresses: []string{"198.51.100.2/24"}})
	here, err := net.ListenPacket("udp", "0.0.0.0:51820")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	// reached reports whether a datagram from outside reaches the other program. An
	// earlier datagram that was late does not count.
	sent := byte(0)
	reached := func() bool {
		sent++
		err := outside.Do(func() error {
			c, err := net.Dial("udp", "198.51.100.1:51820")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte{sent})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		here.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for got := make([]byte, 1); ; {
			if _, _, err := here.ReadFrom(got); err != nil || got[0] == sent {
				return err == nil
			}
		}
	}
	web := serviceText("a", "tcp", ":8080", "closed", "")
	v, _, path := startWith(t, "stealth = true\n", web)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(line string) (int, string) {
		t.Helper()
		next := strings.Replace(string(text), "stealth = true\n", line, 1)
		if err := os.WriteFile(path, []byte(next), 0o600); err != nil {
			t.Fatal(err)
		}
		return runCommand(t, "reload", "-c", path)
	}
	if reached() {
		t.Error("stealth is not in force")
	}
	for _, step := range []struct {
		line string
		open bool
	}{{"stealth = true\nstealth_except = [51820]\n", true}, {"stealth = true\n", false}, {"", true}, {"stealth = true\n", false}} {
		if code, out := reload(step.line); code != 0 {
			t.Fatalf("%q: %s\n%s", step.line, out, v.log())
		}
		if step.open {
			netns.Until(t, step.line+" to open", reached, v.log)
		} else if reached() {
			t.Errorf("%q: open", step.line)
		}
	}
	v.stop(t, 1)
	runCommand(t, "firewall", "clear", "--take-over", "-c", path)

	without, _, path := startWith(t, "", web)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(filepath.Dir(path), "sallyportd.sock")
	netns.Until(t, "the admin socket", func() bool { // the file exists before the server listens
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, without.log)
	code, out := runCommand(t, "reload", "-c", path)
	if code != 1 || !strings.Contains(out, "stealth has changed, but this server was started without a holder of the firewall") {
		t.Errorf("without a holder: %d, %s", code, out)
	}
	without.stop(t, 1)
}
