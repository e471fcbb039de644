package ingest

import (
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestExpiredLeaveTheFilter: the process refuses an expired client to the second, and
// the kernel from the next minute on; if the clock is set back, the kernel accepts the
// client again.
func TestExpiredLeaveTheFilter(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	s := startWith(t, 3, func(c *Config) {
		expires := verifytest.Client(clientNumber(0))
		expires.Expires = minute.Start().Add(45 * time.Second)
		c.Settings.Rules.Table = verifytest.Table(t, expires, verifytest.Client(clientNumber(1)))
	}, loop4)
	ask := func(m schedule.Minute, second int, client int) (reason verify.Reason, arrived bool) {
		s.clock.Set(m.Start().Add(time.Duration(second) * time.Second))
		if err := s.runInRotation(t.Context(), (*rotation).refresh); err != nil {
			t.Fatal(err)
		}
		ports, _ := portsOf(3)(m)
		before, id := s.Stats(), clientNumber(client)
		b := knock(t, m, 0, 2)
		copy(b[wire.OffsetIdentifier:], id[:])
		send(t, loop4, ports[0], b)
		var after = before
		netns.Until(t, "the datagram to be counted", func() bool {
			if err := s.runInRotation(t.Context(), (*rotation).refresh); err != nil { // counts the kernel's drops
				t.Fatal(err)
			}
			after = s.Stats()
			return after.Kernel > before.Kernel || after.Reasons != before.Reasons
		})
		for r, n := range after.Reasons {
			if n > before.Reasons[r] {
				return verify.Reason(r), true
			}
		}
		return 0, false
	}
	for _, row := range []struct {
		minutes schedule.Minute
		second  int
		client  int
		want    verify.Reason
		arrives bool
	}{
		{0, 31, 0, verify.MAC, true}, {0, 31, 1, verify.MAC, true},
		{0, 45, 0, verify.Expired, true}, {0, 59, 0, verify.Expired, true}, {0, 59, 1, verify.MAC, true},
		{1, 20, 0, 0, false}, {1, 20, 1, verify.MAC, true}, {1, 50, 0, 0, false},
		{0, 40, 0, verify.MAC, true}, {0, 40, 1, verify.MAC, true},
		{0, 46, 0, verify.Expired, true}, {2, 10, 0, 0, false}, {2, 10, 1, verify.MAC, true},
	} {
		got, arrived := ask(minute+row.minutes, row.second, row.client)
		if got != row.want || arrived != row.arrives {
			t.Errorf("client %d in minute %d at %d s: %s, arrived %v; want %s, %v", row.client, row.minutes, row.second, got, arrived, row.want, row.arrives)
		}
	}
}
