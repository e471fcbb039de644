package target

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"sallyport/bench/scenario"
	"sallyport/sessions/client"
	"sallyport/verify/schedule"
)

// ServerConfig is what differs between the servers under test; the rest is as
// shipped.
type ServerConfig struct {
	Binary     string // sallyportd
	Dir        string // to be made
	Address    string // by which clients reach it
	Web        int    // the port of the service that it hides
	Ports      int
	Clients    int
	Unfiltered bool
	Strict     bool
	Readers    int // 0: one a core, which is one
	Core       int
	Honest     int                // how many clients may knock honestly; 0: 100
	Services   func(i int) string // which a client may open, if not all; nil: all may
	More       string             // to stand at the end of the configuration
	// Beside are servers on the same host, with which it shares no port.
	Beside []*Server
}

// Server is a running sallyportd.
type Server struct {
	*Process
	Config   ServerConfig
	Profiles []client.Profile // of clients that may knock honestly
	socket   string

	mu      sync.Mutex
	opened  map[netip.Addr]time.Time // the first grant of each address
	missed  uint64
	watcher error
}

const (
	// honest is how many clients knock honestly at the most, by default.
	honest = 100
	// ahead is for how many minutes servers have to have ports of their own.
	ahead = 60
)

// StartServer makes a configuration and serves it. It returns when the server
// does.
func StartServer(ctx context.Context, cfg ServerConfig) (*Server, error) {
	s := &Server{Config: cfg, socket: filepath.Join(cfg.Dir, "sallyportd.sock"), opened: map[netip.Addr]time.Time{}}
	path := cfg.Dir + ".toml"
	if err := os.WriteFile(path, []byte(cfg.text()), 0o600); err != nil {
		return nil, fmt.Errorf("configure the server: %w", err)
	}
	if out, err := exec.CommandContext(ctx, cfg.Binary, "init", cfg.Dir, "--from", path, "--server", cfg.Address).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("configure the server: %w\n%s", err, out)
	}
	if err := s.register(); err != nil {
		return nil, fmt.Errorf("configure the server: %w", err)
	}
	p, err := start(ctx, cfg.Core, exec.Command(cfg.Binary, "serve", "-c", filepath.Join(cfg.Dir, "sallyportd.toml")))
	if err != nil {
		return nil, err
	}
	s.Process = p
	if err := p.await(ctx, "msg=serving"); err != nil {
		return nil, err
	}
	return s, s.watch(ctx)
}

func (c ServerConfig) text() string {
	durability := "relaxed"
	if c.Strict {
		durability = "strict"
	}
	return fmt.Sprintf(`version = 1
server = %q
ports = %d
port_secret_file = "port_secret"
clients = "clients.txt"
kernel_filter = %t
durability = %q
readers = %d
[[service]]
name = "web"
type = "web"
listen = "[::]:%d"
open_for = "1s"
open_max = "1s"
%s`, c.Address, c.Ports, !c.Unfiltered, durability, c.Readers, c.Web, c.More)
}

// register writes the clients file and the port secret, with secrets of their
// own.
func (s *Server) register() (err error) {
	secret, err := s.portSecret()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.Config.Dir, "port_secret"), []byte(secret+"\n"), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.Config.Dir, "clients.txt"), os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	random := make([]byte, 32)
	for i := range s.Config.Clients {
		rand.Read(random)
		id := scenario.ClientID(i)
		own := hex.EncodeToString(random)
		may := ""
		if s.Config.Services != nil && s.Config.Services(i) != "" {
			may = " services=" + s.Config.Services(i)
		}
		fmt.Fprintf(w, "%s %s 0%s\n", id, own, may)
		if i < max(s.Config.Honest, honest) {
			s.Profiles = append(s.Profiles, client.Profile{
				Server: s.Config.Address, PortSecret: secret, Ports: s.Config.Ports, Identifier: id, Secret: []byte(own),
			})
		}
	}
	return w.Flush()
}

// portSecret draws one under which no port is another server's while it is
// open.
func (s *Server) portSecret() (string, error) {
	type opening struct {
		minute schedule.Minute
		port   uint16
	}
	now := schedule.MinuteOf(time.Now())
	// each calls f with the ports that a server has open, until it returns false.
	each := func(secret string, ports int, f func(opening) bool) error {
		for m := now - 2; m < now+ahead; m++ {
			drawn, err := schedule.Ports(schedule.Algorithm1, secret, m, ports)
			if err != nil {
				return err
			}
			for _, p := range drawn {
				for around := m - 1; around <= m+1; around++ {
					if !f(opening{around, p}) {
						return nil
					}
				}
			}
		}
		return nil
	}
	taken := map[opening]bool{}
	for _, other := range s.Config.Beside {
		if err := each(other.Profiles[0].PortSecret, other.Config.Ports, func(o opening) bool {
			taken[o] = true
			return true
		}); err != nil {
			return "", err
		}
	}
	random := make([]byte, 32)
	for {
		rand.Read(random)
		secret, free := hex.EncodeToString(random), true
		err := each(secret, s.Config.Ports, func(o opening) bool {
			free = !taken[o]
			return free
		})
		if free || err != nil {
			return secret, err
		}
	}
}
