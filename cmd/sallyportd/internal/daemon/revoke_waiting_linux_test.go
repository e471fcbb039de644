package daemon

import (
	"context"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/admin"
)

// TestRevocationDoesNotWait: a client that is revoked, or removed by a reload, loses its
// leases although decisions before it wait, as they do for an etcd that does not answer.
func TestRevocationDoesNotWait(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	r := startReloadable(t, true)
	const left, stay = "left the-old-secret-of-a-client 0\n", "stay the-old-secret-of-a-client 0\n"
	rows := map[string]func() error{
		"a revocation that the file does not confirm": func() error {
			_, err := r.Restrict(context.Background(), admin.Restriction{Client: "left", Named: true})
			return err
		},
		"a revocation": func() error {
			r.clients(t, stay)
			_, err := r.Restrict(context.Background(), admin.Restriction{Client: "left"})
			return err
		},
		"less rights": func() error {
			r.clients(t, "left the-old-secret-of-a-client 0 services=two\n"+stay)
			_, err := r.Restrict(context.Background(), admin.Restriction{Client: "left", Services: []string{"two"}})
			return err
		},
		"a reload": func() error {
			r.clients(t, stay)
			_, err := r.Reload(context.Background())
			return err
		},
	}
	web := func(id string) (n int) {
		for _, l := range r.gate.Leases() {
			if l.Client.String() == id && l.Service == "web" {
				n++
			}
		}
		return n
	}
	for name, revoke := range rows {
		r.clients(t, left+stay)
		if _, err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"left", "stay"} {
			netns.Until(t, "a lease of "+id, func() bool { r.knocks(t, id); return web(id) == 1 })
		}
		r.challenge.mu.Lock() // as executeProofs does while the record of leases is written
		done := make(chan error)
		go func() { done <- revoke() }()
		netns.Until(t, name+" to end the lease", func() bool { return web("left") == 0 })
		if web("stay") != 1 {
			t.Errorf("%s: the lease of another client has ended", name)
		}
		r.challenge.mu.Unlock()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
