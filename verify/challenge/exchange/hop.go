package exchange

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/schedule"
)

// This file moves the requests and responses each minute (Plan.Hop). PROTOCOL.md,
// "Requests that age", has the reasons.

// maxKeys is the maximum number of keys of a minute: the current one, and the previous
// one while the port secret is replaced.
const maxKeys = 2

// maxHops is the maximum number of hops at a time.
const maxHops = schedule.MaxLive * maxKeys

// Hopping is what a server knows of its hops.
type Hopping struct {
	// Keys returns the keys of a minute, at most maxKeys.
	Keys      func(schedule.Minute) []schedule.HopKey
	Tolerance time.Duration // of clocks
}

// Hops reports whether the ports move.
func (o *Operations) Hops() bool { return o.bases > 0 }

// SetHopping sets how the ports move, before the operations are used. Without it, and
// with Hops, no request is accepted.
func (o *Operations) SetHopping(h Hopping) { o.hopping = h }

// Minutes are the kinds of requests that are accepted at a time: those of the live
// minutes. One goroutine owns them. Use NewMinutes to make them, not the zero value.
type Minutes struct {
	operations *Operations
	hops       []hop
	kinds      [2][]*Kind // of all hops, over IPv4, IPv6; the newest minute is the last
	since      time.Time  // kinds are right from here on
	until      time.Time  // and before here
}

// hop is the kinds of one minute, by one key.
type hop struct {
	minute schedule.Minute
	key    schedule.HopKey
	kinds  [2][]*Kind
}

// NewMinutes returns the Minutes of operations. If their ports move, it accepts nothing
// before Turn.
func NewMinutes(o *Operations) *Minutes {
	m := &Minutes{operations: o}
	if !o.Hops() {
		m.kinds = o.kinds
	}
	return m
}

// Turn makes the requests of the minutes that are live at a time of day the accepted
// ones. Kinds that were accepted before stay the same.
func (m *Minutes) Turn(wall time.Time) {
	o := m.operations
	if !o.Hops() || o.hopping.Keys == nil || !wall.Before(m.since) && wall.Before(m.until) {
		return
	}
	m.since, m.until = wall, schedule.NextChange(wall, o.hopping.Tolerance)
	var hops []hop
	m.kinds = [2][]*Kind{}
	for _, minute := range schedule.Live(wall, o.hopping.Tolerance) {
		for _, key := range o.hopping.Keys(minute) {
			same := func(h hop) bool { return h.minute == minute && h.key == key }
			i := slices.IndexFunc(m.hops, same)
			if i < 0 {
				hops = append(hops, hop{minute, key, o.moved(key.Hop(minute, o.bases))})
			} else {
				hops = append(hops, m.hops[i])
			}
			for family, kinds := range hops[len(hops)-1].kinds {
				m.kinds[family] = append(m.kinds[family], kinds...)
			}
		}
	}
	m.hops = hops
}

// Kinds returns the kinds of requests that a client can send from an address now.
func (m *Minutes) Kinds(client netip.Addr) []*Kind {
	if client.Unmap().Is6() {
		return m.kinds[1]
	}
	return m.kinds[0]
}

// Masks returns the masks of the requests that carriers bring at a time of day, and the
// time at which they change next; zero: never. A nil mask: the request is not masked.
func (o *Operations) Masks(wall time.Time) (masks [][]byte, until time.Time) {
	if !o.Hops() {
		return [][]byte{nil}, time.Time{}
	}
	for _, minute := range schedule.Live(wall, o.hopping.Tolerance) {
		if o.hopping.Keys == nil {
			break
		}
		for _, key := range o.hopping.Keys(minute) {
			h := key.Hop(minute, o.bases)
			masks = append(masks, h.Mask[:])
		}
	}
	return masks, schedule.NextChange(wall, o.hopping.Tolerance)
}

// moved returns the kinds of a hop.
func (o *Operations) moved(h schedule.Hop) (all [2][]*Kind) {
	for family, kinds := range o.kinds {
		for _, k := range kinds {
			moved := &Kind{
				requests: k.requests.Moved(h.Distance), responses: k.responses.Moved(h.Distance),
				shared: k.shared, v6: k.v6, operations: k.operations, mask: h.Mask[:],
			}
			for _, op := range k.operations {
				// No error is possible: the codec has taken this ID before.
				prefix, _ := moved.requests.Prefix(xor([]byte(op.id), moved.mask))
				moved.prefixes = append(moved.prefixes, prefix)
			}
			all[family] = append(all[family], moved)
		}
	}
	return all
}

// masked masks or unmasks a request of the kind, in place.
func (k *Kind) masked(request []byte) []byte { return xor(request, k.mask) }

// xor XORs a message with a mask, which is not shorter, in place. A nil mask changes
// nothing.
func xor(message, mask []byte) []byte {
	for i := range mask[:min(len(mask), len(message))] {
		message[i] ^= mask[i]
	}
	return message
}
