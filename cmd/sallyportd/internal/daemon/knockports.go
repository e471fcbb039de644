package daemon

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/holder"
	"sallyport/verify/schedule"
)

const (
	// knockInterval is how often the firewall's knock ports are compared with the
	// open ones: the clock can be set at any moment.
	knockInterval = time.Second
	// knockSlack is how much earlier than it should the firewall may close a port,
	// before the time is sent again: clocks are slewed.
	knockSlack = 100 * time.Millisecond
)

// knockPorts makes the firewall accept knocks at the open ports, each until its
// time. That is a time of day, which can be set; the firewall's timeouts run by
// clock.Monotonic. A port on which a service listens by UDP is never opened to
// strangers. Its methods may be called concurrently.
type knockPorts struct {
	servicePorts []access.Ports
	openPorts    func(ports []uint16, lasts time.Duration) error
	clock        clock.Clock
	log          *slog.Logger
	// reopened has an element when the firewall accepts knocks again that it may
	// have dropped for a while.
	reopened chan struct{}

	mu             sync.Mutex
	open           map[uint16]time.Time // until when, by the time of day
	heldUntil      map[uint16]time.Time // until when the firewall keeps it open, by clock.Monotonic
	failing        bool
	closedByHolder bool            // another holder has closed all ports
	missed         map[uint16]bool // ports where the firewall may drop knocks
	traced         []uint16        // ports that are open for a trace, and accept no knock
	notTraced      error           // why the firewall does not open them; nil: it does
}

func newKnockPorts(servicePorts []access.Ports, h *holder.Conn, env Env) *knockPorts {
	return &knockPorts{
		servicePorts: servicePorts,
		openPorts:    h.OpenKnockPorts,
		clock:        env.Clock,
		log:          env.Log,
		heldUntil:    map[uint16]time.Time{},
		missed:       map[uint16]bool{},
		reopened:     make(chan struct{}, 1),
	}
}

// set sets which ports are open. Ports that the firewall cannot open now are sent
// again later: until then knocks there are lost, which opens nothing.
func (k *knockPorts) set(open map[uint16]time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = open
	k.refresh()
	return nil
}

// trace sets which ports are open for a trace only. The firewall has each for
// holder.TraceTime at most, and it is renewed: if the server dies, they close.
func (k *knockPorts) trace(ports []uint16) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.traced = ports
	k.refresh()
}

// untraced returns why the firewall does not open the ports of a trace. It may be called
// on nil.
func (k *knockPorts) untraced() error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.notTraced
}

// refreshTraced opens the ports of a trace that the firewall would soon close. The loss of
// a datagram there loses no knock, so a failure is the trace's alone. The caller holds the
// lock.
func (k *knockPorts) refreshTraced(now time.Time) {
	k.notTraced = nil
	var missing []uint16
	for _, p := range k.traced {
		if k.open[p].IsZero() && k.heldUntil[p].Sub(now) < holder.TraceTime/2 && !access.AnyHas(k.servicePorts, p) {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return
	}
	if k.notTraced = k.openPorts(missing, holder.TraceTime); k.notTraced != nil {
		return
	}
	for _, p := range missing {
		k.heldUntil[p] = now.Add(holder.TraceTime)
	}
}

// reopenAll sends all ports again: the firewall has another holder.
func (k *knockPorts) reopenAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.heldUntil)
	k.closedByHolder = true
	k.refresh()
}

// run refreshes until ctx ends.
func (k *knockPorts) run(ctx context.Context) {
	tick := time.NewTicker(knockInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.mu.Lock()
			k.refresh()
			k.mu.Unlock()
		}
	}
}

// refresh opens the ports that the firewall would close too early. The caller holds
// the lock.
func (k *knockPorts) refresh() {
	wall, now := k.clock.Wall(), k.clock.Monotonic()
	maps.DeleteFunc(k.heldUntil, func(_ uint16, until time.Time) bool { return !now.Before(until) })
	missing := map[time.Duration][]uint16{} // by how long they stay open: few different times
	for p, until := range k.open {
		left := min(until.Sub(wall), schedule.MaxOpen)
		if left >= time.Millisecond && k.heldUntil[p].Sub(now) < left-knockSlack && !access.AnyHas(k.servicePorts, p) {
			missing[left] = append(missing[left], p)
		}
	}
	maps.DeleteFunc(k.missed, func(p uint16, _ bool) bool { return k.open[p].IsZero() })
	var failed error
	reopened := false
	for left, ports := range missing {
		if err := k.openPorts(ports, left); err != nil {
			failed = err
			for _, p := range ports {
				k.missed[p] = true
			}
			continue
		}
		for _, p := range ports {
			reopened = reopened || k.missed[p]
			delete(k.missed, p)
			k.heldUntil[p] = now.Add(left)
		}
	}
	if failed != nil && !k.failing {
		k.log.Error("failed to open knock ports in the firewall; retrying", "error", failed)
	}
	if reopened || failed == nil && k.closedByHolder {
		k.closedByHolder = k.closedByHolder && failed != nil
		select {
		case k.reopened <- struct{}{}:
		default:
		}
	}
	k.failing = failed != nil
	if failed == nil {
		k.refreshTraced(now)
	}
}
