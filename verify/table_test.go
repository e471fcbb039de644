package verify_test

import (
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestWithdraws: a client goes on while every secret that was good is good, and
// no longer.
func TestWithdraws(t *testing.T) {
	now := time.Unix(start, 0)
	soon, past := now.Add(time.Minute), now.Add(-time.Minute)
	id := verifytest.ID("com1")
	client := func(secret, previous string, until time.Time) verify.Key {
		return verify.Key{Identifier: id, Secret: []byte(secret), Previous: []byte(previous), Until: until}
	}
	for name, row := range map[string]struct {
		before, after verify.Key
		want          bool
	}{
		"nothing":                 {client("a", "", now), client("a", "", now), false},
		"another secret":          {client("a", "", now), client("b", "", now), true},
		"a rotation":              {client("a", "", now), client("b", "a", soon), false},
		"a rotation that is over": {client("a", "", now), client("b", "a", past), true},
		"the end of a rotation":   {client("b", "a", past), client("b", "", now), false},
		"an early end":            {client("b", "a", soon), client("b", "", now), true},
		"a shorter rotation":      {client("b", "a", soon), client("b", "a", now.Add(time.Second)), false},
		"a rotation taken back":   {client("b", "a", soon), client("a", "", now), true},
		"one after another":       {client("b", "a", past), client("c", "b", soon), false},
	} {
		before, after := verifytest.Table(t, row.before), verifytest.Table(t, row.after)
		had, _ := before.Secrets(id)
		if got := after.Withdraws(had, id, now); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
		if after.Number() <= before.Number() {
			t.Errorf("tables %d and then %d", before.Number(), after.Number())
		}
	}
	one, none := verifytest.Table(t, client("a", "", now)), verifytest.Table(t)
	had, _ := one.Secrets(id)
	if _, ok := none.Secrets(id); ok || !none.Withdraws(had, id, now) {
		t.Error("a client that has left has its secret")
	}
}
