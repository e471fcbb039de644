package gate

import "testing"

// TestStanding: a connection goes on exactly if the service has it, all owners are the
// clients that they were, and a lease admits it, or it had outlived its lease, as it may.
func TestStanding(t *testing.T) {
	for bits := range 1 << 6 {
		is := func(i int) bool { return bits&(1<<i) != 0 }
		now, leased := standing{service: is(0), valid: is(1), may: is(2), leased: is(3), cut: is(4)}, is(5)
		want := is(0) && is(1) && is(2) && (is(3) || !is(5) && !is(4))
		if got := now.refuses(leased); (got == "") != want {
			t.Errorf("%+v, with a lease before: %t: %q", now, leased, got)
		}
	}
}
