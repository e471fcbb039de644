package daemon

import (
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/moved"
	"sallyport/sessions/gate"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// TestValidOwner: an owner of a stored connection must be the client that it was, with the
// same secret. The owner of an operation's leases is none: its connection needs the lease.
func TestValidOwner(t *testing.T) {
	com1, com2, operation := wire.Identifier([]byte("com1")), wire.Identifier([]byte("com2")), wire.Identifier([]byte("#op1"))
	now := time.Unix(1_800_000_000, 0)
	table, err := verify.NewKeyTable([]verify.Key{
		{Identifier: com1, Secret: []byte("a secret of com1"), Previous: []byte("the one before"), Until: now.Add(time.Minute)},
	})
	if err != nil {
		t.Fatal(err)
	}
	current, previous := table.Windows(com1)
	s := new(Server)
	s.inForce.Store(table)
	for _, row := range []struct {
		what    string
		owners  []wire.Identifier
		secrets []verify.Fingerprint
		leased  bool
		at      time.Duration
		want    bool // of the first owner
	}{
		{"the same client", []wire.Identifier{com1}, []verify.Fingerprint{current.Fingerprint}, false, 0, true},
		{"a client whose secret was replaced", []wire.Identifier{com1}, []verify.Fingerprint{previous.Fingerprint}, true, 0, true},
		{"a client whose old secret is over", []wire.Identifier{com1}, []verify.Fingerprint{previous.Fingerprint}, true, time.Hour, false},
		{"another secret", []wire.Identifier{com1}, []verify.Fingerprint{current.Fingerprint ^ 1}, true, 0, false},
		{"no secret", []wire.Identifier{com1}, []verify.Fingerprint{0}, true, 0, false},
		{"no client", []wire.Identifier{com2}, []verify.Fingerprint{current.Fingerprint}, true, 0, false},
		{"no client, and no secret", []wire.Identifier{com2}, []verify.Fingerprint{0}, true, 0, false},
		{"an operation with its lease", []wire.Identifier{operation}, []verify.Fingerprint{0}, true, 0, true},
		{"an operation without a lease", []wire.Identifier{operation}, []verify.Fingerprint{0}, false, 0, false},
		{"an operation, or a client", []wire.Identifier{operation, com1}, []verify.Fingerprint{0, current.Fingerprint}, true, 0, false},
	} {
		c := moved.Connection{Moved: gate.Moved{Owners: row.owners, Leased: row.leased}, Secrets: row.secrets}
		if got := s.validOwner(c, now.Add(row.at))(row.owners[0]); got != row.want {
			t.Errorf("%s: %t", row.what, got)
		}
		if s.validOwner(c, now)(wire.Identifier([]byte("com9"))) {
			t.Errorf("%s: a client that is no owner", row.what)
		}
	}
}
