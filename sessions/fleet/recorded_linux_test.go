package fleet

import (
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/replay"
	"sallyport/verify/verifytest"
)

// TestRecorded: another gateway knows of an attempt when etcd has recorded all of its
// nonces, also without a view; not of one of which etcd has a
// part, or an unreadable value.
func TestRecorded(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	one := openJournal(t, e.Gateway(t), t.TempDir(), patient)
	defer one.Close()
	other := openJournal(t, e.Gateway(t), t.TempDir(), patient) // does not Run
	defer other.Close()
	id := verifytest.ID("com1")
	secret := verifytest.Fingerprint(id)
	var w replay.Window
	for n := range uint32(3) {
		w.Accept(7 + n)
	}
	entry := sessions.Entry{Identifier: id, Secret: secret, HighestNonce: 9, Ring: w.Ring(), Stamp: 5, Base: 7, Count: 3}
	if errs := one.Record([]sessions.Entry{entry}); errs != nil {
		t.Fatal(errs)
	}
	for _, j := range []*Journal{one, other} {
		for _, row := range []struct {
			client string
			secret string
			base   uint32
			want   bool
		}{
			{"com1", "com1", 7, true}, {"com1", "com1", 8, false}, {"com1", "com1", 6, false}, {"com1", "com1", 1<<32 - 2, false},
			{"com1", "com2", 7, false}, {"com2", "com1", 7, false},
		} {
			got, err := j.Recorded(t.Context(), verifytest.ID(row.client), verifytest.Fingerprint(verifytest.ID(row.secret)), row.base, 3)
			if err != nil || got != row.want {
				t.Errorf("%+v: %v, %v", row, got, err)
			}
		}
	}
	// An unreadable value contains no nonce. An error would make the grants of others wait.
	if _, err := e.Root().Put(t.Context(), one.key(verifytest.ID("com3")), "unreadable"); err != nil {
		t.Fatal(err)
	}
	if recorded, err := other.Recorded(t.Context(), verifytest.ID("com3"), secret, 7, 3); err != nil || recorded {
		t.Errorf("an unreadable value: %v, %v", recorded, err)
	}
	way := e.Gateway(t)
	off := openJournal(t, way, t.TempDir(), 100*time.Millisecond)
	defer off.Close()
	way.Each((*etcdtest.Path).Cut)
	if recorded, err := off.Recorded(t.Context(), id, secret, 7, 3); err == nil || recorded {
		t.Errorf("without etcd: %v, %v", recorded, err)
	}
}
