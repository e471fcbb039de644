package cluster

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/sessions/fleet/etcdtest"
)

// TestAuthorityIsReadAgain: another authority of etcd counts from the next connection on,
// and only then: without a restart, and without trust in the one before.
func TestAuthorityIsReadAgain(t *testing.T) {
	t.Parallel()
	e, g := gateway(t, etcdtest.Options{TLS: true})
	files := e.Files(t, "gateway")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	use := func(file string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(ca, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	use(files.Certificate) // has signed nothing
	c := open(t, Config{
		Endpoints: g.Endpoints(), CA: ca, Certificate: files.Certificate, Key: files.Key, Timeout: 300 * time.Millisecond,
	})
	if err := put(t, c, "a", "1"); err == nil {
		t.Fatal("a member of another authority is trusted")
	}
	use(files.Authority)
	must(t, func() error { return put(t, c, "a", "1") })
	use(files.Certificate)
	g.Each((*etcdtest.Path).Cut)
	g.Each((*etcdtest.Path).Heal)
	end := time.Now().Add(time.Minute)
	for put(t, c, "a", "2") == nil { // until the connection is a new one
		if time.Now().After(end) {
			t.Fatal("the authority before is still trusted")
		}
	}
	for range 3 {
		if err := put(t, c, "a", "3"); err == nil {
			t.Error("the authority before is trusted again")
		}
	}
}
