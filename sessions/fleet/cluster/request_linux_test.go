package cluster

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/etcdtest"
)

// TestComesBack: Open does not wait for etcd; requests fail while etcd is away, and the
// first one after its return succeeds, also with a user, whose token etcd then has lost.
// The log names the failure once, and nothing names the password.
func TestComesBack(t *testing.T) {
	t.Parallel()
	user := etcdtest.User{Name: "gateway", Password: "hunter2", Read: []string{DefaultPrefix}, Write: []string{DefaultPrefix}}
	e, g := gateway(t, etcdtest.Options{TLS: true, Users: []etcdtest.User{user}})
	files := e.Files(t, "gateway")
	e.Kill()
	var log lines
	c := open(t, Config{
		Endpoints: g.Endpoints(), CA: files.Authority, Certificate: files.Certificate, Key: files.Key, User: user.Name, Password: user.Password,
		Timeout: 300 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	failed := func() {
		t.Helper()
		for range 2 {
			err := put(t, c, "a", "1")
			if !errors.As(err, new(*UnavailableError)) || strings.Contains(err.Error(), user.Password) {
				t.Fatalf("without etcd: got %v, want that it is unavailable", err)
			}
		}
		if h := c.Health(); h.Available || h.Err == "" {
			t.Errorf("health: got %+v", h)
		}
	}
	failed()
	for range 2 {
		e.Restart(t)
		e.Ready(t)
		must(t, func() error { return put(t, c, "a", "1") })
		if h := c.Health(); !h.Available {
			t.Errorf("health: got %+v", h)
		}
		e.Kill()
		failed()
	}
	text := log.String()
	if n := strings.Count(text, "etcd unavailable"); n < 1 || n > 3 || strings.Contains(text, user.Password) {
		t.Errorf("%d lines name the failure:\n%s", n, text)
	}
}

// TestHungMember: one of three members hangs, and requests succeed within their time.
func TestHungMember(t *testing.T) {
	t.Parallel()
	e, g := gateway(t, etcdtest.Options{Members: 3})
	c := open(t, Config{Endpoints: g.Endpoints(), Timeout: 10 * time.Second})
	m := follow(t, c, "")
	must(t, func() error { return put(t, c, "a", "1") })
	m.wait(t, "a", func() bool { return m.keys["a"] == "1" })
	at := int(c.preferred.Load())
	if at == e.Leader(t) {
		c.preferred.Store(uint32(at+1) % 3) // an election is not the subject
		must(t, func() error { return put(t, c, "a", "1") })
		at = int(c.preferred.Load())
	}
	c.timeout = 4 * time.Second // half of it is for the other members
	g.To(at).Hold(true, true)
	if err := put(t, c, "b", "2"); err != nil {
		t.Errorf("with one member that hangs: %v", err)
	}
	if got := int(c.preferred.Load()); got == at {
		t.Error("the next request would go to the member that hangs")
	}
	m.wait(t, "the watch moves", func() bool { return m.keys["b"] == "2" })
}

// TestRefused: a request that etcd refuses is not tried again.
func TestRefused(t *testing.T) {
	t.Parallel()
	user := etcdtest.User{Name: "gateway", Password: "hunter2", Read: []string{DefaultPrefix}, Write: []string{DefaultPrefix + "grants/a/"}}
	_, g := gateway(t, etcdtest.Options{Users: []etcdtest.User{user}})
	c := open(t, Config{Endpoints: g.Endpoints(), User: user.Name, Password: user.Password, Timeout: time.Minute})
	must(t, func() error { return put(t, c, "grants/a/1", "") })
	err := put(t, c, "grants/b/1", "")
	if !errors.As(err, new(*UnavailableError)) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a key of another gateway: got %v, want a refusal", err)
	}
	many := make([]clientv3.Op, 200)
	for i := range many {
		many[i] = clientv3.OpGet(c.Key("x"))
	}
	if _, err := c.Txn(t.Context(), nil, many, nil); err == nil {
		t.Error("etcd took 200 operations")
	}
}

// TestLease: keys of a lease vanish with it.
func TestLease(t *testing.T) {
	t.Parallel()
	_, g := gateway(t, etcdtest.Options{})
	c := open(t, Config{Endpoints: g.Endpoints()})
	m := follow(t, c, "gateways/")
	var id clientv3.LeaseID
	must(t, func() (err error) { id, err = c.Lease(t.Context(), time.Minute); return err })
	held := clientv3.OpPut(c.Key("gateways/a"), "x", clientv3.WithLease(id))
	if _, err := c.Txn(t.Context(), nil, []clientv3.Op{held}, nil); err != nil {
		t.Fatal(err)
	}
	m.wait(t, "a", func() bool { return m.keys["a"] == "x" })
	if err := c.KeepAlive(t.Context(), id); err != nil {
		t.Error(err)
	}
	if err := c.Revoke(t.Context(), id); err != nil {
		t.Error(err)
	}
	m.wait(t, "no a", func() bool { return len(m.keys) == 0 })
	if err := c.KeepAlive(t.Context(), id); err == nil {
		t.Error("a lease that has ended was renewed")
	}
}
