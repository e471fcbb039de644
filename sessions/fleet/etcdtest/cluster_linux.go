package etcdtest

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// silent is the log of connections that tests cut.
var silent = log.New(io.Discard, "", 0)

// attempt is the time after which Ready asks again.
const attempt = time.Second

// Cluster is the members of one etcd.
type Cluster struct {
	options   Options
	program   string
	directory string
	token     string // the cluster's identifier depends on it
	members   []*member
	between   map[[2]int]*Path
	authority *authority // nil without TLS
	server    Files
	root      *clientv3.Client
}

// Start starts members, which end with the test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	program, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("needs etcd (Debian: etcd-server)")
	}
	c := &Cluster{options: o, program: program, directory: directory(t), token: "first", between: map[[2]int]*Path{}}
	if o.TLS {
		c.authority = newAuthority(t, c.directory, o.Addresses)
		c.server = c.authority.issue(t, "server")
	}
	for i := range o.members(t) {
		m := &member{number: i, directory: filepath.Join(c.directory, fmt.Sprint(i))}
		if err := os.Mkdir(m.directory, 0o700); err != nil {
			t.Fatal(err)
		}
		for other := range i {
			p := &Path{}
			t.Cleanup(p.Cut)
			c.between[[2]int{other, i}] = p
		}
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		m.proxy = c.serveProxy(t, m.number)
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			if m.ended != nil {
				c.Kill(m.number)
			}
			if t.Failed() {
				t.Log(m.tail())
			}
		}
	})
	c.Restart(t)
	c.root = c.Client(t, c.gateway(t, true), User{})
	c.Ready(t)
	c.addUsers(t)
	return c
}

// directory returns a directory in memory, if the host has one, since etcd syncs each
// write. Its path is short: that of a socket has at most 107 bytes.
func directory(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	dir, err := os.MkdirTemp(parent, "etcdtest")
	if err != nil {
		dir, err = os.MkdirTemp("", "etcdtest")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Root returns a client with all rights. It reaches the members by another way than the gateways.
func (c *Cluster) Root() *clientv3.Client { return c.root }

// Client returns a client that uses a gateway's way as a user, or as none: User{}.
func (c *Cluster) Client(t testing.TB, g *Gateway, u User) *clientv3.Client {
	t.Helper()
	config := clientv3.Config{
		Endpoints: g.Endpoints(), Username: u.Name, Password: u.Password,
		DialTimeout: attempt, Logger: zap.NewNop(),
	}
	if c.options.TLS {
		config.TLS = c.authority.client(t)
	}
	client, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Ready waits until the members have a leader that answers.
func (c *Cluster) Ready(t testing.TB) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), attempt)
		_, err := c.root.Get(ctx, "key")
		cancel()
		if err == nil {
			return
		}
		c.check(t, err)
		time.Sleep(5 * time.Millisecond)
	}
}

// Leader returns the number of the leader.
func (c *Cluster) Leader(t testing.TB) int {
	t.Helper()
	for {
		for i, endpoint := range c.root.Endpoints() {
			ctx, cancel := context.WithTimeout(t.Context(), attempt)
			s, err := c.root.Status(ctx, endpoint)
			cancel()
			if err == nil && s.Leader == s.Header.MemberId {
				return i
			}
		}
		c.check(t, nil)
		time.Sleep(5 * time.Millisecond)
	}
}

// Compact removes the history before the present revision.
func (c *Cluster) Compact(t testing.TB) {
	t.Helper()
	got, err := c.root.Get(t.Context(), "key")
	if err == nil {
		_, err = c.root.Compact(t.Context(), got.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err != nil {
		t.Fatalf("compact: %v", err)
	}
}

// check fails the test if a member has ended by itself, or if the test's time is over.
func (c *Cluster) check(t testing.TB, last error) {
	t.Helper()
	for _, m := range c.members {
		select {
		case <-m.ended:
			if !m.killed {
				t.Fatalf("member %d ended: %v", m.number, m.process.ProcessState)
			}
		default:
		}
	}
	if d, has := t.(interface{ Deadline() (time.Time, bool) }); has {
		if end, limited := d.Deadline(); limited && time.Until(end) < 10*time.Second {
			t.Fatalf("the members have no leader: %v", last)
		}
	}
}
