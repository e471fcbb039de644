package etcdtest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Wipe replaces the data of all members by none: the members start again as a new etcd
// with the same identifier, whose revisions begin at 1. Users are made again.
func (c *Cluster) Wipe(t testing.TB) {
	t.Helper()
	c.discard(t)
	c.Restart(t)
	c.root = c.Client(t, c.gateway(t, true), User{})
	c.Ready(t)
	c.addUsers(t)
}

// Snapshot returns the path of a backup.
func (c *Cluster) Snapshot(t testing.TB) string {
	t.Helper()
	r, err := c.root.Snapshot(t.Context())
	if err != nil {
		t.Fatalf("take a snapshot: %v", err)
	}
	defer r.Close()
	f, err := os.CreateTemp(c.directory, "snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		t.Fatalf("take a snapshot: %v", err)
	}
	return f.Name()
}

// Restore replaces the data of all members by those of a backup, as an administrator
// does. With sameIdentifier, the cluster has the identifier that it had: only the
// revision shows that it went back.
func (c *Cluster) Restore(t testing.TB, snapshot string, sameIdentifier bool) {
	t.Helper()
	c.discard(t)
	if !sameIdentifier {
		c.token += " restored"
	}
	for _, m := range c.members {
		restore := exec.Command(c.tool(t), append([]string{"snapshot", "restore", snapshot, "--data-dir", m.data()}, c.identity(m)...)...)
		restore.Env = []string{"ETCDCTL_API=3"}
		if out, err := restore.CombinedOutput(); err != nil {
			t.Fatalf("restore a snapshot: %v\n%s", err, out)
		}
	}
	c.Restart(t)
	c.Ready(t)
}

// discard kills all members and removes their data.
func (c *Cluster) discard(t testing.TB) {
	t.Helper()
	c.Kill()
	for _, m := range c.members {
		if err := os.RemoveAll(m.data()); err != nil {
			t.Fatal(err)
		}
	}
}

// tool returns the program that restores snapshots for this etcd: etcdctl up to 3.4,
// then etcdutl, which stands beside it.
func (c *Cluster) tool(t testing.TB) string {
	t.Helper()
	if beside := filepath.Join(filepath.Dir(c.program), "etcdutl"); exec.Command(beside, "version").Run() == nil {
		return beside
	}
	path, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Skip("needs etcdctl (Debian: etcd-client)")
	}
	return path
}
