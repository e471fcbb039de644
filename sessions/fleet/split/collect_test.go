package split

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
)

const minute = schedule.Minute(29_000_000)

var (
	alice = netip.MustParseAddr("192.0.2.1")
	begin = time.Unix(1_700_000_000, 0)
)

// TestCollector: an attempt is due after the delay, with all knocks that came until then; not
// one that has completed here, that closes, or whose source is no host to other gateways.
func TestCollector(t *testing.T) {
	t.Parallel()
	f := verifytest.New(t, 3, "com1")
	c := newCollector(sessions.Limit{})
	if first, _, _ := c.add(f.Knock(t, "com1", minute, 10, 0), alice, begin); !first {
		t.Error("the first knock is not the first")
	}
	c.add(f.Knock(t, "com1", minute, 10, 2), netip.MustParseAddr("192.0.2.3"), begin.Add(delay/2))
	c.add(f.Knock(t, "com1", minute, 20, 0), alice, begin)
	c.end(f.Knock(t, "com1", minute, 20, 1))
	c.add(f.Knock(t, "com1", minute, 30, 0), netip.MustParseAddr("127.0.0.1"), begin)
	c.add(f.Closing(t, "com1", minute, 40, 0), alice, begin)
	c.add(f.Knock(t, "com1", minute, 50, 0), alice, begin)
	c.add(f.KnockStamped(t, "com1", minute, 50, 1, uint32(minute.Start().Unix())+5), alice, begin)
	if due, _, next := c.take(begin.Add(delay - 1)); len(due) != 0 || next != begin.Add(delay) {
		t.Errorf("due %v, next %v", due, next)
	}
	due, limited, next := c.take(begin.Add(delay))
	list := due[verifytest.ID("com1")]
	if len(list) != 1 || limited != 0 || !next.IsZero() {
		t.Fatalf("due %v, limited %d, next %v", due, limited, next)
	}
	if p := list[0]; p.knock.Base() != 10 || p.knocks != (mask{1 | 1<<2}) || p.address != alice || p.differ != 2 {
		t.Errorf("due %+v", p)
	}
}

// TestFlood: however many attempts a client with a valid secret leaves incomplete, it makes
// the gateway publish no more than its limit, keeps no memory, and delays no other client.
func TestFlood(t *testing.T) {
	t.Parallel()
	f := verifytest.New(t, 3, "evil", "good")
	for pause, atLeast := range map[time.Duration]int{
		500 * time.Microsecond: 0,                     // each attempt is dropped for a newer one
		4 * time.Millisecond:   sessions.DefaultBurst, // each waits for its time
	} {
		c := newCollector(sessions.Limit{})
		evil, good, dropped, n := 0, 0, 0, int(time.Second/pause)
		now := begin
		for i := range n {
			now = now.Add(pause)
			if _, drops, why := c.add(f.Knock(t, "evil", minute, uint32(10+3*i), 0), alice, now); drops {
				if dropped++; why != Crowded {
					t.Fatalf("dropped: %v", why)
				}
			}
			if i == n/2 {
				c.add(f.Knock(t, "good", minute, 10, 0), alice, now)
			}
			due, limited, _ := c.take(now)
			dropped += limited
			evil, good = evil+len(due[verifytest.ID("evil")]), good+len(due[verifytest.ID("good")])
			if len(c.queue) > int(delay/pause)+2 || len(c.clients) > 2 {
				t.Fatalf("%d attempts wait", len(c.queue))
			}
		}
		limit := sessions.DefaultBurst + int(time.Second/sessions.DefaultPause)
		if evil < atLeast || evil > limit || dropped < n-limit-maxHeld {
			t.Errorf("every %s: %d parts published, %d dropped; want at most %d", pause, evil, dropped, limit)
		}
		if good != 1 {
			t.Errorf("every %s: %d parts of the other client", pause, good)
		}
	}
}

// TestTooMany: beyond the maximum of all clients, attempts are dropped; clients without
// attempts are forgotten.
func TestTooMany(t *testing.T) {
	t.Parallel()
	f := verifytest.New(t, 3, "com1")
	c := newCollector(sessions.Limit{Pause: 1, Burst: 1})
	for range maxPending {
		c.queue = append(c.queue, &pending{knock: f.Knock(t, "com1", minute, 10, 0), over: true, due: begin})
	}
	if _, drops, why := c.add(f.Knock(t, "com1", minute, 20, 0), alice, begin); !drops || why != QueueFull {
		t.Errorf("dropped: %t, %v", drops, why)
	}
	c.clients[verifytest.ID("com1")] = new(holder)
	for i := range 100 {
		c.clients[[4]byte{byte(i)}] = new(holder)
	}
	c.take(begin.Add(time.Hour))
	if len(c.clients) != 0 || len(c.queue) != 0 {
		t.Errorf("%d clients and %d attempts are left", len(c.clients), len(c.queue))
	}
}
