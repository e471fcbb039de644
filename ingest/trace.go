package ingest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/ingest/prefilter"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Trace asks why datagrams with one identifier are refused. While it is in force, the
// socket filters pass all of them, and the ports of minutes that are not live are open:
// a client whose clock is wrong sends there. These ports have no place, so nothing that
// arrives there is accepted.
type Trace struct {
	Identifier wire.Identifier
	// Ports is how many further ports may be open at each address.
	Ports int
	// Refused gets each refused datagram, and its source. Several goroutines call it. It
	// must not block or allocate: any host can send such datagrams.
	Refused func(verify.Explanation, netip.Addr)
	// Unchecked gets the datagrams that are refused while the queue is half full, beyond
	// busyLimit of each reader in a second: their signature is not checked, so that a
	// flood in the name of the client costs the others nothing more. It may be nil, and
	// must not block or allocate.
	Unchecked func(verify.Reason, netip.Addr)
}

// busyLimit is how many datagrams of each reader are explained in a second while its queue
// is half full: about a thousandth of a processor.
const busyLimit = 1000

// explained counts the datagrams that a reader's task has explained. It belongs to the task.
type explained struct {
	second int64
	n      int
}

// take counts one, and reports whether it is one of the first busyLimit in its second.
func (e *explained) take(now int64) bool {
	if e.second != now {
		*e = explained{second: now}
	}
	e.n++
	return e.n <= busyLimit
}

// refused explains a datagram of a batch, if it has the identifier.
func (t *Trace) refused(s *shard, b *batch, i int, now int64, reason verify.Reason) {
	d := b.datagram(i)
	if len(d) != wire.Size || wire.Identifier(d[wire.OffsetIdentifier:]) != t.Identifier {
		return
	}
	if within := s.explained.take(now); !within && s.queue.len() > len(s.queue.slots)/2 {
		if t.Unchecked != nil {
			t.Unchecked(reason, b.origins[i].Addr())
		}
		return
	}
	t.Refused(s.verifier.Explain(d, b.places[i], now, reason), b.origins[i].Addr())
}

// Trace puts a trace in force, in place of the one before, or none: nil. The rules for
// knocks stay as they are. An error means that nothing has changed. Any goroutine may
// call it, while Run runs.
func (r *Receiver) Trace(ctx context.Context, t *Trace) error {
	var refused error
	err := r.runInRotation(ctx, func(rot *rotation) (err error) {
		refused, err = rot.setTrace(t)
		return err
	})
	if err == nil {
		err = refused
	}
	return err
}

// setTrace is Trace. An err ends Run.
func (r *rotation) setTrace(t *Trace) (refused, err error) {
	next := tracePorts{of: t, told: r.trace.told}
	if refused = next.draw(r.current, r.cfg.Now()); refused != nil {
		return refused, nil
	}
	r.trace = next
	for _, sh := range r.shards {
		sh.trace.Store(t)
	}
	if t == nil {
		r.ports.filter.trace(nil)
	} else {
		r.ports.filter.trace(&t.Identifier)
	}
	return nil, r.refresh()
}

// tracePorts are the ports that are open for a trace only. They belong to the rotation.
type tracePorts struct {
	of     *Trace    // nil: none is in force
	drawn  *compiled // the settings with which ports were drawn
	minute schedule.Minute
	ports  []uint16
	told   []uint16 // the last ones of Config.PortsTraced
}

// beside returns the ports of the trace that are not in a table. They have no place. The
// tiers before the sockets do not get them in their table: the shield passes what is for a
// port that it does not know, and the firewall gets a separate list (Config.PortsTraced).
func (p *tracePorts) beside(t prefilter.Table, current *compiled, now time.Time) map[uint16]bool {
	if p.of == nil {
		return nil
	}
	// If the schedule fails, it also fails for the knocks: the trace keeps its ports.
	p.draw(current, now)
	beside := make(map[uint16]bool, len(p.ports))
	for _, port := range p.ports {
		if _, live := t.Ports[port]; !live {
			beside[port] = true
		}
	}
	return beside
}

// announce calls Config.PortsTraced with the ports of the trace that are open, if these are
// others than before.
func (p *tracePorts) announce(cfg *Config, beside map[uint16]bool, held func(uint16) bool) {
	if cfg.PortsTraced == nil {
		return
	}
	var open []uint16
	for port := range beside {
		if held(port) {
			open = append(open, port)
		}
	}
	if slices.Sort(open); !slices.Equal(open, p.told) {
		p.told = open
		cfg.PortsTraced(slices.Clone(open))
	}
}

// draw draws the ports of the nearest minutes that are not live, as many as may be open,
// if the minute or the settings have changed.
func (p *tracePorts) draw(current *compiled, now time.Time) error {
	minute := schedule.MinuteOf(now)
	if p.of == nil || p.drawn == current && p.minute == minute {
		return nil
	}
	var ports []uint16
	for m := range schedule.Around(schedule.Live(now, current.Rules.Tolerance)) {
		lists, err := current.Ports(m)
		if err != nil {
			return fmt.Errorf("draw the ports of a trace: %w", err)
		}
		all := slices.Concat(lists...)
		if len(ports)+len(all) > p.of.Ports {
			break
		}
		ports = append(ports, all...)
	}
	p.drawn, p.minute, p.ports = current, minute, ports
	return nil
}
