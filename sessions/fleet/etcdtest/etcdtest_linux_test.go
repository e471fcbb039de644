package etcdtest

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// put writes a key, and gives up after a time that no working etcd needs.
func put(client *clientv3.Client, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := client.Put(ctx, key, "value")
	return err
}

// until repeats put until it succeeds.
func until(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	for {
		err := put(client, key)
		if err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("put: %v", err)
		}
	}
}

// TestProcesses: a member that is stopped, killed or cut off answers nothing, and
// answers again afterwards.
func TestProcesses(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	g := c.Gateway(t)
	client := c.Client(t, g, User{})
	until(t, client, "first")
	for _, test := range []struct {
		name    string
		end, do func()
	}{
		{"stopped", func() { c.Stop() }, func() { c.Continue() }},
		{"killed", func() { c.Kill() }, func() { c.Restart(t) }},
		{"cut", func() { g.Each((*Path).Cut) }, g.To(0).Heal},
		{"bytes there held", func() { g.To(0).Hold(true, false) }, g.To(0).Heal},
		{"bytes back held", func() { g.To(0).Hold(false, true) }, g.To(0).Heal},
		{"slow", func() { g.To(0).Delay(time.Minute) }, func() { g.To(0).Cut(); g.To(0).Heal() }},
	} {
		test.end()
		if put(client, test.name) == nil {
			t.Errorf("%s: the member answered", test.name)
		}
		test.do()
		until(t, client, "after")
	}
	if got, err := client.Get(t.Context(), "first"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("the first key: got %v, %v, want its value", got, err)
	}
}

// TestPartition: three members without one go on; the one without the others answers
// nothing; it answers again when they reach each other.
func TestPartition(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Members: 3})
	leader := c.Leader(t)
	others := []int{(leader + 1) % 3, (leader + 2) % 3}
	only := func(member int) *clientv3.Client {
		g := c.Gateway(t)
		for i := range 3 {
			if i != member {
				g.To(i).Cut()
			}
		}
		return c.Client(t, g, User{})
	}
	alone, majority := only(leader), only(others[0])
	for _, other := range others {
		c.Between(leader, other).Hold(true, true)
	}
	until(t, majority, "majority")
	if put(alone, "alone") == nil {
		t.Error("a member without the others answered")
	}
	for _, other := range others {
		c.Between(leader, other).Heal()
	}
	until(t, alone, "healed")
	c.Kill(others[0])
	until(t, alone, "two of three")
	c.Kill(others[1])
	if put(alone, "one of three") == nil {
		t.Error("one member of three answered")
	}
	c.Restart(t, others...)
	until(t, alone, "three")
}

// TestUsers: etcd asks for certificates and for users, whose rights end at their prefix.
func TestUsers(t *testing.T) {
	t.Parallel()
	user := User{Name: "a", Password: "secret", Read: []string{"/"}, Write: []string{"/a/"}}
	c := Start(t, Options{TLS: true, Users: []User{user}})
	g := c.Gateway(t)
	client := c.Client(t, g, user)
	if err := put(client, "/a/key"); err != nil {
		t.Errorf("its own key: %v", err)
	}
	if err := put(client, "/b/key"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("another's key: %v, want a refusal", err)
	}
	if err := put(c.Client(t, g, User{}), "/a/key"); err == nil {
		t.Error("etcd answered without a user")
	}
	files := c.Files(t, "client")
	if _, err := tls.LoadX509KeyPair(files.Certificate, files.Key); err != nil {
		t.Error(err)
	}
	raw, err := net.Dial("tcp", g.Endpoints()[0][len("https://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	bare := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := bare.Handshake(); err == nil {
		_, err = bare.Read(make([]byte, 1)) // TLS 1.3 refuses the certificate here
		if err == nil {
			t.Error("etcd accepted a client without a certificate")
		}
	}
}

// TestData: a wiped cluster has lost its keys, a restored one has those of the backup.
func TestData(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	head := func() (cluster uint64, revision int64, keys int64) {
		t.Helper()
		c.Ready(t)
		got, err := c.Root().Get(t.Context(), "k", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		return got.Header.ClusterId, got.Header.Revision, got.Count
	}
	until(t, c.Root(), "k1")
	snapshot := c.Snapshot(t)
	first, early, _ := head()
	until(t, c.Root(), "k2")
	for _, same := range []bool{true, false} {
		c.Restore(t, snapshot, same)
		if id, revision, keys := head(); (id == first) != same || revision > early || keys != 1 {
			t.Errorf("restored: got identifier %x, revision %d and %d keys; before %x, %d and 1", id, revision, keys, first, early)
		}
	}
	c.Wipe(t)
	if _, revision, keys := head(); revision != 1 || keys != 0 {
		t.Errorf("wiped: got revision %d and %d keys", revision, keys)
	}
}

// TestQuota: a full database accepts no key, until it is compacted, defragmented and
// its alarm is off.
func TestQuota(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Quota: 1 << 20})
	big := string(make([]byte, 100<<10))
	var err error
	for range 100 {
		if _, err = c.Root().Put(t.Context(), "big", big); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "space exceeded") {
		t.Fatalf("put: %v, want the quota's error", err)
	}
	c.Compact(t)
	if _, err := c.Root().Defragment(t.Context(), c.Root().Endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Root().AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Root().Put(t.Context(), "small", ""); err != nil {
		t.Errorf("put: %v", err)
	}
}

// TestLeavesNothing: the processes end with the test.
func TestLeavesNothing(t *testing.T) {
	var c *Cluster
	t.Run("test", func(t *testing.T) { c = Start(t, Options{}) })
	if c == nil {
		t.Skip("needs etcd (Debian: etcd-server)")
	}
	select {
	case <-c.members[0].ended:
	default:
		t.Error("the member still runs")
	}
	if _, err := os.Stat(c.directory); !os.IsNotExist(err) {
		t.Errorf("%s: %v, want none", c.directory, err)
	}
}
