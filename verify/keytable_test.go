package verify_test

import (
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/verifytest"
)

// TestWithdraws: a client stays a client as long as every secret of it that was
// valid is still valid.
func TestWithdraws(t *testing.T) {
	now := time.Unix(start, 0)
	soon, past := now.Add(time.Minute), now.Add(-time.Minute)
	id := verifytest.ID("com1")
	key := func(secret, previous string, until time.Time) verify.Key {
		return verify.Key{Identifier: id, Secret: []byte(secret), Previous: []byte(previous), Until: until}
	}
	for name, row := range map[string]struct {
		before, after verify.Key
		want          bool
	}{
		"nothing":                 {key("a", "", now), key("a", "", now), false},
		"another secret":          {key("a", "", now), key("b", "", now), true},
		"a rotation":              {key("a", "", now), key("b", "a", soon), false},
		"a rotation that is over": {key("a", "", now), key("b", "a", past), true},
		"the end of a rotation":   {key("b", "a", past), key("b", "", now), false},
		"an early end":            {key("b", "a", soon), key("b", "", now), true},
		"a shorter rotation":      {key("b", "a", soon), key("b", "a", now.Add(time.Second)), false},
		"a rotation taken back":   {key("b", "a", soon), key("a", "", now), true},
		"one after another":       {key("b", "a", past), key("c", "b", soon), false},
	} {
		before, after := verifytest.Table(t, row.before), verifytest.Table(t, row.after)
		old, _ := before.Secrets(id)
		if got := after.Withdraws(old, id, now); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
		if after.Number() <= before.Number() {
			t.Errorf("tables %d and then %d", before.Number(), after.Number())
		}
	}
	one, none := verifytest.Table(t, key("a", "", now)), verifytest.Table(t)
	old, _ := one.Secrets(id)
	if _, ok := none.Secrets(id); ok || !none.Withdraws(old, id, now) {
		t.Error("a removed client still has its secret")
	}
}

func TestPreviousUntil(t *testing.T) {
	end := time.Unix(start, 0)
	table := verifytest.Table(t, verify.Key{Identifier: verifytest.ID("new1"), Secret: []byte("b"), Previous: []byte("a"), Until: end},
		verify.Key{Identifier: verifytest.ID("same"), Secret: []byte("b"), Previous: []byte("b"), Until: end})
	if until, ok := table.PreviousUntil(verifytest.ID("new1")); !ok || !until.Equal(end) {
		t.Errorf("got %v, %v", until, ok)
	}
	for _, id := range []string{"same", "none"} {
		if _, ok := table.PreviousUntil(verifytest.ID(id)); ok {
			t.Errorf("%s has a previous secret", id)
		}
	}
}
