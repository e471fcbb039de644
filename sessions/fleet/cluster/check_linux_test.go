package cluster

import (
	"testing"
	"time"

	"sallyport/sessions/fleet/etcdtest"
)

// TestCheck: a member that does not answer, a user without rights, and nothing is written.
func TestCheck(t *testing.T) {
	t.Parallel()
	user := etcdtest.User{Name: "gateway", Password: "hunter2", Read: []string{DefaultPrefix}, Write: []string{DefaultPrefix + "nonces/"}}
	e, g := gateway(t, etcdtest.Options{Users: []etcdtest.User{user}})
	c := Config{Endpoints: g.Endpoints(), User: user.Name, Password: user.Password, Timeout: 30 * time.Second}
	if p := c.Check(t.Context(), "nonces/x"); len(p) != 0 {
		t.Errorf("got %v", p)
	}
	if p := c.Check(t.Context(), "nonces/x", "uses/x"); len(p) != 1 || !p[0].Denied {
		t.Errorf("without rights: got %v", p)
	}
	wrong := c
	wrong.Password = "another"
	if p := wrong.Check(t.Context(), "nonces/x"); len(p) != 1 || !p[0].Denied {
		t.Errorf("with a wrong password: got %v", p)
	}
	c.Timeout, c.Endpoints = 500*time.Millisecond, append(c.Endpoints, "http://127.0.0.1:1")
	if p := c.Check(t.Context()); len(p) != 0 {
		t.Errorf("without keys: got %v", p)
	}
	found := false
	for _, p := range c.Check(t.Context(), "nonces/x") {
		found = found || p.Endpoint == "http://127.0.0.1:1" && !p.Denied
	}
	if !found {
		t.Error("a member that does not answer was not found")
	}
	if got, err := e.Root().Get(t.Context(), DefaultPrefix+"nonces/x"); err != nil || len(got.Kvs) != 0 {
		t.Errorf("written: %v, %v", got, err)
	}
}
