package cluster

import (
	"testing"
	"time"

	"sallyport/sessions/fleet/etcdtest"
)

// TestChecksRights: which releases of etcd check the rights of nested transactions.
func TestChecksRights(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"3.3.27": false, "3.4.23": false, "3.4.43": false, "3.4.44": true, "3.5.29": false, "3.5.30": true,
		"3.6.10": false, "3.6.11": true, "3.6.0-rc.1": false, "3.7.0": true, "3.7.3": true, "4.0.0": true, "2.3.8": false, "": true, "unknown": true,
	} {
		if got := ChecksRights(version); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
}

// TestVersions: a user without rights learns the version of each member that answers.
func TestVersions(t *testing.T) {
	t.Parallel()
	user := etcdtest.User{Name: "gateway", Password: "hunter2"}
	_, g := gateway(t, etcdtest.Options{Users: []etcdtest.User{user}})
	c := Config{Endpoints: g.Endpoints(), User: user.Name, Password: user.Password, Timeout: 30 * time.Second}
	if got := c.Versions(t.Context()); len(got) != 1 || len(got[0]) < len("3.4.0") || got[0][:2] != "3." {
		t.Errorf("got %q", got)
	}
	c.Timeout, c.Endpoints = 100*time.Millisecond, []string{"http://127.0.0.1:1"}
	if got := c.Versions(t.Context()); len(got) != 1 || got[0] != "" {
		t.Errorf("without a member: got %q", got)
	}
}
