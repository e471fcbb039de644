package daemon

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/helper"
	"sallyport/verify/schedule"
)

const (
	// knockLook is how often the firewall's knock ports are held against what is
	// open: the clock can be set at any moment.
	knockLook = time.Second
	// knockSlack is how much less than it should the firewall may let a port take
	// knocks, before it is told again: clocks are slewed.
	knockSlack = 100 * time.Millisecond
)

// knockPorts has the firewall let knocks in at the ports that are open, each until
// its time. That is a time of day, which can be set; what the firewall was told
// runs out by clock.Monotonic. Where a service listens by UDP, strangers'
// datagrams do not come. Its methods may be called concurrently.
type knockPorts struct {
	taken []uint16
	tell  func(ports []uint16, lasts time.Duration) error
	clock clock.Clock
	log   *slog.Logger
	// back has an element when knocks come in again that the firewall may have
	// dropped for a while.
	back chan struct{}

	mu      sync.Mutex
	open    map[uint16]time.Time // until when, by the time of day
	told    map[uint16]time.Time // until when the firewall has it, by clock.Monotonic
	failing bool
	shut    bool            // another holder has closed all ports
	lost    map[uint16]bool // ports where knocks come in vain
}

func newKnockPorts(taken []uint16, h *helper.Conn, env Env) *knockPorts {
	return &knockPorts{taken: taken, tell: h.OpenKnockPorts, clock: env.Clock, log: env.Log, told: map[uint16]time.Time{}, lost: map[uint16]bool{}, back: make(chan struct{}, 1)}
}

// set says which ports are open. What the firewall cannot be told of now it is
// told later: until then knocks there are lost, which opens nothing.
func (k *knockPorts) set(open map[uint16]time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = open
	k.look()
	return nil
}

// again tells everything anew: the firewall has another holder.
func (k *knockPorts) again() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.told)
	k.shut = true
	k.look()
}

// run looks until ctx ends.
func (k *knockPorts) run(ctx context.Context) {
	tick := time.NewTicker(knockLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.mu.Lock()
			k.look()
			k.mu.Unlock()
		}
	}
}

// look tells the firewall of the ports that it would close too early. The caller
// holds the lock.
func (k *knockPorts) look() {
	wall, now := k.clock.Wall(), k.clock.Monotonic()
	maps.DeleteFunc(k.told, func(_ uint16, until time.Time) bool { return !now.Before(until) })
	missing := map[time.Duration][]uint16{} // by how long they are open, which are few
	for p, until := range k.open {
		left := min(until.Sub(wall), schedule.MaxOpen)
		if left >= time.Millisecond && k.told[p].Sub(now) < left-knockSlack && !slices.Contains(k.taken, p) {
			missing[left] = append(missing[left], p)
		}
	}
	maps.DeleteFunc(k.lost, func(p uint16, _ bool) bool { return k.open[p].IsZero() })
	var failed error
	back := false
	for left, ports := range missing {
		if err := k.tell(ports, left); err != nil {
			failed = err
			for _, p := range ports {
				k.lost[p] = true
			}
			continue
		}
		for _, p := range ports {
			back = back || k.lost[p]
			delete(k.lost, p)
			k.told[p] = now.Add(left)
		}
	}
	if failed != nil && !k.failing {
		k.log.Error("failed to open knock ports in the firewall; retrying", "error", failed)
	}
	if back || failed == nil && k.shut {
		k.shut = k.shut && failed != nil
		select {
		case k.back <- struct{}{}:
		default:
		}
	}
	k.failing = failed != nil
}
