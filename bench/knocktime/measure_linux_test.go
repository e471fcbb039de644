package knocktime

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// TestExchange: Exchange fails if a received message differs from the sent one.
func TestExchange(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	l, err := NewLink()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, h := range map[string]*netns.Host{"client": l.client, "server": l.server} {
		if err := h.Do(func() error { return limited(name) }); err != nil {
			t.Error(err)
		}
	}
	for _, r := range []Row{{Table: 1, DataBits: 12}, {Table: 2, DataBits: 8}, {Table: 3, DataBits: 15, Delay: 2 * ms}} {
		for _, e := range r.Encodings() {
			before := l.sent(t)
			took, err := l.Exchange(t.Context(), r, e)
			if err != nil {
				t.Errorf("%s, %s: %v", r, e.Scheme, err)
				continue
			}
			t.Logf("%s: %v, by the model %v", r, took, r.Model().Time)
			// The line carries no other packet, such as the refusal of a closed port.
			request, response := r.packets()
			after := l.sent(t)
			knocks, answers := after[0]-before[0], after[1]-before[1]
			if knocks != uint64(request+response) || answers != 1 {
				t.Errorf("%s: %d knocks and %d answers were sent, want %d and 1", r, knocks, answers, request+response)
			}
		}
	}
}

// limited returns an error unless the interface sends at the paper's rate.
func limited(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	qdiscs, err := netlink.QdiscList(l)
	if err != nil {
		return err
	}
	for _, q := range qdiscs {
		if tbf, ok := q.(*netlink.Tbf); ok && tbf.Rate == bitsPerSecond/8 {
			return nil
		}
	}
	return fmt.Errorf("%s sends by %v", name, qdiscs)
}

// sent returns how many packets client and server have sent.
func (l *Link) sent(t *testing.T) (packets [2]uint64) {
	for i, end := range []struct {
		host *netns.Host
		name string
	}{{l.client, "client"}, {l.server, "server"}} {
		if err := end.host.Do(func() error {
			c, err := netns.Count(end.name)
			packets[i] = c.Sent
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return packets
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	rows := Rows()
	_, err := Measure(ctx, rows, 1, func(done, _ int, _ string) {
		if done == 1 {
			time.AfterFunc(10*ms, cancel)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, row := range []struct {
		all  []time.Duration
		want time.Duration
	}{{[]time.Duration{3}, 3}, {[]time.Duration{9, 3}, 3}, {[]time.Duration{9, 3, 4}, 4}} {
		if got := median(row.all); got != row.want {
			t.Errorf("%v: %v, want %v", row.all, got, row.want)
		}
	}
}
