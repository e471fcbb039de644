package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

const (
	// openTime is how long an attempt may take, as long as a gateway waits for etcd.
	openTime = 2 * time.Second
	// firstTime is how long the first attempts may take: the gateways have to connect.
	firstTime = time.Minute
	pollTime  = time.Millisecond
)

// await waits until gateways have opened for an address.
func await(ctx context.Context, gateways []*gateway, from netip.Addr, limit time.Duration) (all bool, err error) {
	for end := time.Now().Add(limit); ; time.Sleep(pollTime) {
		all = true
		for _, g := range gateways {
			opened, err := g.server.Opened()
			if err != nil {
				return false, err
			}
			for address, at := range opened {
				g.opened[address] = at
			}
			if _, ok := g.opened[from]; !ok {
				all = false
			}
		}
		if all || time.Now().After(end) || ctx.Err() != nil {
			return all, ctx.Err()
		}
	}
}

// where returns the gateways that an attempt at one of them opens.
func (t *testbed) where(all bool, g *gateway) []*gateway {
	if all {
		return t.gateways
	}
	return []*gateway{g}
}

// warm makes attempts at each gateway until they open: gateways refuse knocks from before
// their start, and connect to etcd after it.
func (t *testbed) warm(ctx context.Context) error {
	for _, g := range t.gateways {
		for _, all := range []bool{false, true} {
			for end, opened := time.Now().Add(firstTime), false; !opened; {
				from, _, err := t.clients.knock(all, g.to)
				if err != nil {
					return err
				}
				if opened, err = await(ctx, t.where(all, g), from, openTime/4); err != nil {
					return err
				}
				if !opened && time.Now().After(end) {
					return fmt.Errorf("gateway %d opens nothing", g.number)
				}
			}
		}
	}
	return nil
}

// series is the attempts of a row.
type series struct {
	*testbed
	o                    Opening
	before               Cost
	here, others, writes []time.Duration
}

// openings makes attempts in all testbeds in turn, one after the other, so that they can be
// compared. Those of a testbed go to each gateway in turn.
func openings(ctx context.Context, list []*testbed, all bool, tries int) ([]Opening, error) {
	if len(list) == 0 {
		return nil, nil
	}
	rows := make([]series, len(list))
	for i, t := range list {
		rows[i] = series{testbed: t, o: Opening{Setup: t.setup, Tries: tries}}
		rows[i].o.All = all
		var err error
		if rows[i].before, err = t.cost(ctx); err != nil {
			return nil, err
		}
	}
	before, err := list[0].usage()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	for i := range tries {
		for j := range rows {
			if err := rows[j].try(ctx, rows[j].gateways[i%len(rows[j].gateways)]); err != nil {
				return nil, err
			}
		}
	}
	lasted := time.Since(begin)
	noise, err := list[0].noise(before)
	if err != nil {
		return nil, err
	}
	result := make([]Opening, len(rows))
	for i := range rows {
		if result[i], err = rows[i].result(ctx, lasted); err != nil {
			return nil, err
		}
		result[i].Noise = noise
	}
	return result, nil
}

// try makes an attempt at a gateway, and then a write by the same way.
func (r *series) try(ctx context.Context, g *gateway) error {
	for _, any := range r.gateways {
		clear(any.opened)
	}
	from, sent, err := r.clients.knock(r.o.All, g.to)
	if err != nil {
		return err
	}
	opened, err := await(ctx, r.where(r.o.All, g), from, openTime)
	if err != nil || !opened {
		return err
	}
	r.o.Opened++
	r.here = append(r.here, g.opened[from].Sub(sent))
	if r.o.All && len(r.gateways) > 1 {
		r.others = append(r.others, lastOf(r.gateways, g, from).Sub(sent))
	}
	if g.writer == nil {
		return nil
	}
	took, err := g.write(ctx)
	r.writes = append(r.writes, took)
	return err
}

// result returns the row, after a time in which all its attempts were made.
func (r *series) result(ctx context.Context, lasted time.Duration) (Opening, error) {
	r.o.Here, r.o.Rest, r.o.Write = spreadOf(r.here), spreadOf(r.others), spreadOf(r.writes)
	after, err := r.cost(ctx)
	if err != nil {
		return r.o, err
	}
	n := float64(r.setup.Gateways)
	c := after.plus(r.before, -1).plus(idleBeat(n), -n*lasted.Seconds()/beat.Seconds())
	c.Writes -= float64(len(r.writes))
	r.o.Cost = c.over(float64(r.o.Tries)).positive()
	return r.o, nil
}

// beat is how often an idle gateway writes its key, renews its lease, and asks for the
// position.
const beat = 5 * time.Second

// idleBeat is what each of n gateways costs the members in each beat, without bytes.
func idleBeat(n float64) Cost {
	return Cost{Transactions: 1, Reads: 1, Renewals: 1, Writes: 1, Events: n}
}

// lastOf returns when the last of the other gateways has opened.
func lastOf(all []*gateway, here *gateway, from netip.Addr) (last time.Time) {
	for _, g := range all {
		if at := g.opened[from]; g != here && at.After(last) {
			last = at
		}
	}
	return last
}

// write returns how long a write of one key takes.
func (g *gateway) write(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	begin := time.Now()
	_, err := g.writer.Put(ctx, "floodbench", "x")
	if err != nil {
		return 0, fmt.Errorf("write a key in etcd: %w", err)
	}
	return time.Since(begin), nil
}

// cost returns what the members have done; without a fleet, nothing.
func (t *testbed) cost(ctx context.Context) (Cost, error) {
	if t.etcd == nil {
		return Cost{}, nil
	}
	return t.etcd.cost(ctx)
}
