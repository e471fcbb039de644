package soak

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sallyport/bench/scenario"
	"sallyport/sessions/client"
)

// registered is the number of clients: each revocation takes one.
const registered = 4096

// configure makes the server's configuration and its clients.
func (s *soak) configure(ctx context.Context, dir string) (*clients, error) {
	text := fmt.Sprintf(`version = 1
server = %q
ports = %d
port_secret_file = "port_secret"
clients = "clients.txt"
self_test = false  # its knocks would be among those that are counted
log_format = "json"
[[service]]
name = "web"
type = "web"
listen = "0.0.0.0:%d"
open_for = %q
open_max = %[4]q
[[service]]
name = "ssh"
type = "firewall"
listen = ":%[5]d"
open_for = %[4]q
open_max = %[4]q
[challenge]
[[operation]]
id = %[6]q
secret = %[7]q
service = "ssh"
`, serverAddress, knocks, webPort, openFor.String(), sshPort, operationID, secret)
	from := filepath.Join(dir, "from.toml")
	if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, s.server.binary, "init", s.server.dir, "--from", from, "--server", serverAddress.String()).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%v\n%s", err, out)
	}
	ports, err := os.ReadFile(filepath.Join(s.server.dir, "port_secret"))
	if err != nil {
		return nil, err
	}
	c := &clients{
		judge: s.judge, address: firstAttempt, nonces: map[string]uint32{},
		last: map[string]netip.Addr{}, in: map[string]int{},
	}
	var list strings.Builder
	for i := range registered {
		random := make([]byte, 32)
		rand.Read(random)
		p := client.Profile{
			Server: serverAddress.String(), PortSecret: strings.TrimSpace(string(ports)), Ports: knocks,
			Identifier: scenario.ClientID(i), Secret: []byte(hex.EncodeToString(random)),
		}
		fmt.Fprintf(&list, "%s %s 0\n", p.Identifier, p.Secret)
		c.profiles = append(c.profiles, p)
	}
	c.next = active
	return c, os.WriteFile(filepath.Join(s.server.dir, "clients.txt"), []byte(list.String()), 0o600)
}

// replace puts another client in the place of client i, and returns the address of its last
// attempt.
func (c *clients) replace(i int) (last netip.Addr, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok = c.last[c.profiles[i].Identifier.String()]
	c.profiles[i] = c.profiles[c.next]
	c.next++
	return last, ok
}

// insist makes attempts of a revoked client.
func (c *clients) insist(ctx context.Context, p client.Profile) {
	name := p.Identifier.String()
	for range 3 {
		c.mu.Lock()
		base := c.nonces[name]
		c.nonces[name] = base + knocks
		c.mu.Unlock()
		packets, err := client.Sequence(p, time.Now(), base)
		if err != nil {
			c.judge.Failed(time.Now(), err.Error())
			return
		}
		from := c.newAddress()
		c.judge.Begin(from, name, knocks)
		if err := c.send(capture{from, packets}, true); err != nil {
			c.judge.Failed(time.Now(), err.Error())
			return
		}
		c.judge.Count(func(n *Counts) { n.Revoked++ })
		c.watch(ctx, from, time.Now(), lookFor, lookEach)
	}
}

// lookAsStranger looks until ctx ends.
func (c *clients) lookAsStranger(ctx context.Context) {
	for ctx.Err() == nil {
		c.watch(ctx, stranger, time.Now(), time.Hour, lookEach)
	}
}
