package connecttime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// Config is the configuration of Run. All fields are required, except Only.
type Config struct {
	Server, Client string // the programs to test
	Tries          int    // of each service, over each link
	// Load reads a profile, and returns its record of nonces. The program Client uses the
	// same record.
	Load     func(path string) (client.Profile, client.NonceFile, error)
	Progress func(done, of int, what string)
	Quick    bool // one link and one server
}

// The links, and the addresses on them, which are those for benchmarks (RFC 2544).
const (
	loopback      = "loopback"
	direct        = "veth"
	delayed       = "20 ms"
	delay         = 10 * time.Millisecond
	hereAddress   = "198.18.0.1"
	serverAddress = "198.18.0.2"
	prefix        = "/30"
)

// Run measures. The caller must be root in its namespaces, and must have no other
// network than those that Run makes.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	dir, err := os.MkdirTemp("", "connecttime")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	if err := netns.LoopbackUp(); err != nil {
		return res, err
	}
	// The programs and Load must use the same nonces.
	if err := os.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state")); err != nil {
		return res, err
	}
	links, all := []string{loopback, direct, delayed}, setups()
	if cfg.Quick {
		links, all = links[1:2], all[:1]
	}
	var steps []func() error
	done := 0
	for _, l := range links {
		for i, s := range all {
			if l == loopback {
				s = s.onLoopback()
			}
			if len(s.services) == 0 {
				continue
			}
			steps = append(steps, func() error {
				cfg.Progress(done, len(steps), l+", "+s.name)
				rows, err := cfg.measure(ctx, filepath.Join(dir, fmt.Sprintf("%d-%s", i, l)), l, s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", l, s.name, err)
				}
				res.Rows = append(res.Rows, rows...)
				done++
				return nil
			})
		}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	return res, nil
}

// pace is the least time between two tries of a client. A try has two knocks, and the
// server lets a client open five times a second.
const pace = 500 * time.Millisecond

// measure measures a server over a link.
func (cfg Config) measure(ctx context.Context, dir, link string, s setup) (rows []Row, err error) {
	on, address, trip, unlink, err := connect(link)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlink()) }()
	srv, err := startServer(ctx, cfg, on, dir, address, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.stop()) }()
	rows = make([]Row, len(s.services))
	for i, v := range s.services {
		rows[i] = Row{Link: link, Server: s.name, Service: v.title, RoundTrip: trip, RoundTrips: srv.targets[i].trips()}
	}
	for range cfg.Tries {
		next := time.After(pace)
		for _, column := range []func(*target) (time.Duration, error){(*target).knock, (*target).process} {
			if err := srv.closeLeases(ctx, cfg.Server); err != nil {
				return nil, err
			}
			for i, t := range srv.targets {
				took, err := column(t.with(ctx, cfg))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", t.title, err)
				}
				rows[i].add(took)
			}
		}
		for i, t := range srv.targets {
			took, err := t.plain(address)
			if err != nil {
				return nil, fmt.Errorf("%s: a plain connection: %w", t.title, err)
			}
			rows[i].Plain = append(rows[i].Plain, took)
		}
		<-next
	}
	return rows, nil
}

// add adds the time of a knock, or else of a process: they take turns.
func (r *Row) add(took time.Duration) {
	if len(r.Knock) == len(r.Process) {
		r.Knock = append(r.Knock, took)
	} else {
		r.Process = append(r.Process, took)
	}
}

// connect makes a link. It returns the server's host, nil for this one, the address by
// which clients reach it, and the round trip that the link adds.
func connect(link string) (on *netns.Host, address string, trip time.Duration, unlink func() error, err error) {
	if link == loopback {
		return nil, "127.0.0.1", 0, func() error { return nil }, nil
	}
	if on, err = netns.New(); err != nil {
		return nil, "", 0, nil, err
	}
	here := netns.End{Name: "client", Addresses: []string{hereAddress + prefix}}
	there := netns.End{Name: "server", Addresses: []string{serverAddress + prefix}}
	if link == direct {
		pair, err := netns.Join(here, on, there)
		if err != nil {
			return nil, "", 0, nil, errors.Join(err, on.Close())
		}
		return on, serverAddress, 0, func() error { return errors.Join(netlink.LinkDel(pair), on.Close()) }, nil
	}
	up, stopUp := netns.NewDelay(delay)
	down, stopDown := netns.NewDelay(delay)
	stop := func() { stopUp(); stopDown() }
	l, err := netns.JoinRelayed(here, on, there, up, down)
	if err != nil {
		stop()
		return nil, "", 0, nil, errors.Join(err, on.Close())
	}
	return on, serverAddress, 2 * delay, func() error {
		err := l.Close()
		stop()
		return errors.Join(err, on.Close())
	}, nil
}

// do runs f on a host; nil: this one.
func do(on *netns.Host, f func() error) error {
	if on == nil {
		return f()
	}
	return on.Do(f)
}

// listen opens a socket of a host.
func listen(on *netns.Host, address string) (l net.Listener, err error) {
	err = do(on, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}
