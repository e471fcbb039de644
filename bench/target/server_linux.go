package target

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"sallyport/bench/netns"
	"sallyport/bench/scenario"
	"sallyport/sessions/client"
	"sallyport/verify/schedule"
)

// ServerConfig has the settings that differ between the servers under test. All
// others have their defaults.
type ServerConfig struct {
	Binary     string // sallyportd
	Dir        string // created by StartServer
	Address    string // by which clients reach the server
	Web        int    // the port of its web service
	Ports      int
	Clients    int
	Unfiltered bool
	Strict     bool
	Shield     bool   // at Device
	Device     string // the interface by which clients reach the server
	NoShares   bool
	Readers    int                // 0: one for each core, which is one
	Core       int                // or AnyCore
	Host       *netns.Host        // where it runs; nil: this one
	Like       *Server            // the server has the clients and the port secret of this one
	Honest     int                // the number of clients with a profile; 0: 100
	Services   func(i int) string // the services of client i, "": all; nil: all for each
	Keys       string             // added before the services
	More       string             // added at the end of the configuration
	// Prepare is called when the clients file exists, before the server starts; nil: nothing.
	Prepare func(*Server) error
	// Beside are servers on the same host. The server shares no port with them.
	Beside []*Server
}

// Server is a running sallyportd.
type Server struct {
	*Process
	Config   ServerConfig
	Profiles []client.Profile // of clients that can knock honestly
	// Ready is how long it took from the start of the process until it served.
	Ready  time.Duration
	socket string
	feed   io.Closer

	mu      sync.Mutex
	opened  map[netip.Addr]time.Time // the first grant of each address
	missed  uint64
	watcher error
}

// shieldOn is the line of the log after which the shield is at the driver.
const shieldOn = `msg="shield on"`

const (
	// honest is the default number of clients with a profile.
	honest = 100
	// ahead is the number of minutes for which servers must have different ports.
	ahead = 60
)

// StartServer makes a configuration, and starts a server with it. It returns when
// the server is ready.
func StartServer(ctx context.Context, cfg ServerConfig) (*Server, error) {
	s := &Server{
		Config: cfg, socket: filepath.Join(cfg.Dir, "sallyportd.sock"), opened: map[netip.Addr]time.Time{},
	}
	path := cfg.Dir + ".toml"
	if err := os.WriteFile(path, []byte(cfg.text()), 0o600); err != nil {
		return nil, fmt.Errorf("configure the server: %w", err)
	}
	initialise := exec.CommandContext(ctx, cfg.Binary, "init", cfg.Dir, "--from", path, "--server", cfg.Address)
	if out, err := initialise.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("configure the server: %w\n%s", err, out)
	}
	if err := s.register(); err != nil {
		return nil, fmt.Errorf("configure the server: %w", err)
	}
	if cfg.Prepare != nil {
		if err := cfg.Prepare(s); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	p, err := Start(ctx, cfg.Host, cfg.Core, exec.Command(cfg.Binary, "serve", "-c", filepath.Join(cfg.Dir, "sallyportd.toml")))
	if err != nil {
		return nil, err
	}
	s.Process = p
	if err := p.await(ctx, "msg=serving"); err != nil {
		return nil, err
	}
	s.Ready = time.Since(begin)
	if cfg.Shield {
		if err := p.await(ctx, shieldOn); err != nil {
			return nil, err
		}
	}
	return s, s.watch(ctx)
}

func (c ServerConfig) text() string {
	durability := "relaxed"
	if c.Strict {
		durability = "strict"
	}
	shield := ""
	if c.Shield {
		shield = fmt.Sprintf("shield = \"xdp\"\nshield_interfaces = [%q]\nshield_shares = %t\n", c.Device, !c.NoShares)
	}
	return fmt.Sprintf(`version = 1
server = %q
ports = %d
port_secret_file = "port_secret"
clients = "clients.txt"
kernel_filter = %t
self_test = false  # its knocks would be among those that are counted
durability = %q
readers = %d
%s%s[[service]]
name = "web"
type = "web"
listen = "[::]:%d"
open_for = "1s"
open_max = "1s"
%s`, c.Address, c.Ports, !c.Unfiltered, durability, c.Readers, shield, c.Keys, c.Web, c.More)
}

// register writes the clients file and the port secret, with random secrets.
func (s *Server) register() (err error) {
	if s.Config.Like != nil {
		return s.copyClients(s.Config.Like)
	}
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
		key := hex.EncodeToString(random)
		may := ""
		if s.Config.Services != nil && s.Config.Services(i) != "" {
			may = " services=" + s.Config.Services(i)
		}
		fmt.Fprintf(w, "%s %s 0%s\n", id, key, may)
		if i < max(s.Config.Honest, honest) {
			s.Profiles = append(s.Profiles, client.Profile{
				Server: s.Config.Address, PortSecret: secret, Ports: s.Config.Ports,
				Identifier: id, Secret: []byte(key),
			})
		}
	}
	return w.Flush()
}

// copyClients gives the server the clients and the port secret of another one.
func (s *Server) copyClients(other *Server) error {
	s.Profiles = other.Profiles
	for _, name := range []string{"clients.txt", "port_secret"} {
		content, err := os.ReadFile(filepath.Join(other.Config.Dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.Config.Dir, name), content, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// portSecret draws a port secret whose ports are never open at the same time as
// the same ports of another server on the host.
func (s *Server) portSecret() (string, error) {
	type opening struct {
		minute schedule.Minute
		port   uint16
	}
	now := schedule.MinuteOf(time.Now())
	// each calls f with each port that a server opens, and when, until f returns
	// false.
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
