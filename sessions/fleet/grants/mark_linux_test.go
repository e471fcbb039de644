package grants

import (
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/verifytest"
)

// TestLateCopies: a copy of a request that arrives after its grant was revoked brings no key
// back, so that a gateway which starts then opens nothing; nor does a copy of a revocation
// remove a later grant. The mark of a process before does not stop the next one.
func TestLateCopies(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	huge := strings.Repeat("x", 1<<20) // of another program
	if _, err := e.Root().Put(t.Context(), cluster.DefaultPrefix+prefix+"one/"+markName, huge); err != nil {
		t.Fatal(err)
	}
	one := start(t, e, "one")
	one.knock(t, "com2", 7, 0)
	wait(t, "a first grant", func() bool { return one.has(Sent) == 1 }, one)

	// The request of a grant, which this gateway sends by way of two members.
	a := attempt("com1", 7, 0)
	one.record(t, "com1", a)
	k := one.grants.key(verifytest.ID("com1"), ipv4)
	until := time.Now().Add(openFor)
	text, ok := encode(k, operation{attempt: a, value: value{address: alice, end: until}}, one.grants.cfg.Policy().Table, time.Now())
	if !ok {
		t.Fatal("no value")
	}
	c := one.journal.Cluster()
	name, last := c.Key(prefix+k.String()), c.Key(prefix+"one/"+markName)
	get := func(key string) string {
		t.Helper()
		r, err := e.Root().Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Kvs) == 0 {
			return ""
		}
		return string(r.Kvs[0].Value)
	}
	send := func(x transaction) bool {
		t.Helper()
		r, err := c.Txn(t.Context(), x.conditions, x.operations, x.others)
		if err != nil {
			t.Fatal(err)
		}
		return r.Succeeded
	}
	grant := after(last, mark{text: get(last)}, []clientv3.Op{clientv3.OpPut(name, string(text))})
	if !send(grant) || get(name) == "" {
		t.Fatal("the grant is not sent")
	}
	revocation := after(last, mark{text: get(last)}, []clientv3.Op{clientv3.OpDelete(name)})
	one.grants.Withdraw(verifytest.ID("com1"))
	wait(t, "the revocation", func() bool { return get(name) == "" }, one)
	if send(grant); get(name) != "" {
		t.Error("a late copy brings a revoked grant back")
	}
	other := start(t, e, "other")
	other.expect(t, "a gateway that starts", "com2")

	one.knock(t, "com1", 20, 0)
	other.expect(t, "a later grant", "com2", "com1")
	if send(revocation); get(name) == "" {
		t.Error("a late copy of a revocation removes a later grant")
	}
	if n := other.has(Malformed); n > 0 {
		t.Errorf("%d marks are taken for grants", n)
	}
}

// TestAnswerIsLost: a grant whose answer a path holds is sent once.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one, other := start(t, e, "one"), start(t, e, "other")
	one.knock(t, "com1", 7, 0)
	other.expect(t, "a grant", "com1")
	a := attempt("com2", 7, 0)
	one.record(t, "com2", a)
	one.way.Each(func(p *etcdtest.Path) { p.Hold(false, true) })
	one.send("com2", a)
	other.expect(t, "a grant without an answer", "com1", "com2")
	one.grants.Withdraw(verifytest.ID("com2"))
	one.way.Each((*etcdtest.Path).Heal)
	wait(t, "its revocation", func() bool { return other.has(Revoked) == 1 }, other)
}
