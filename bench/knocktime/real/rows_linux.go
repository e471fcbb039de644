package real

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/knocktime/line"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

const (
	// spare is how many exchanges more a row may have, if some are discarded, or if its
	// median is off: another program may have used the processor.
	spare = 5
	// rowTimeout is how long the client waits for the challenge, and for the service.
	rowTimeout = 5 * time.Second
)

// rows measures each row with each of its schemes.
func (r *run) rows(ctx context.Context) (rows []Row, err error) {
	for _, paper := range r.cfg.Rows {
		for _, e := range encodings(paper) {
			row := Row{Row: paper, Scheme: e.Scheme, SequenceBits: e.SequenceBits}
			r.progress(row.name())
			if err := r.row(ctx, &row, e); err != nil {
				return nil, fmt.Errorf("%s: %w", row.name(), err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (r *run) row(ctx context.Context, row *Row, e challenge.Encoding) (err error) {
	s, c, err := r.deploy(ctx, layouts(e, exchange.NATAware))
	var no *refused
	if errors.As(err, &no) {
		row.Refused = no.reason
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	row.First, row.Last = c.ports()
	row.Shared = c.shared
	row.Line = c.exchange().Time(line.Slow)
	for range r.cfg.Rounds + spare {
		if len(row.Measured) >= r.cfg.Rounds && !row.off() {
			break
		}
		t, stolen, err := r.time(ctx, s, c)
		if err != nil {
			return err
		}
		if stolen > mostStolen || t == nil {
			row.Discarded++
			continue
		}
		row.Measured = append(row.Measured, *t)
	}
	return nil
}

// deploy starts a server with the first configuration that check accepts. Its error is
// the reason against the last one, if it accepts none.
func (r *run) deploy(ctx context.Context, all []configuration) (s *server, c configuration, err error) {
	// All servers have one directory, because the firewall's table, which outlives a
	// server, belongs to its configuration file.
	dir := filepath.Join(r.dir, "server")
	for _, c = range all {
		s, err = startServer(ctx, r.cfg.programs(), r.network.server, dir, c)
		var no *refused
		if !errors.As(err, &no) {
			return s, c, err
		}
	}
	return nil, c, err
}

// time makes one exchange, and returns its times, and the share of the
// processor that other machines took. The times are nil if it failed.
func (r *run) time(ctx context.Context, s *server, c configuration) (t *Times, stolen float64, err error) {
	before, err := clock.TicksOf(r.cores)
	if err != nil {
		return nil, 0, err
	}
	// Leases of earlier exchanges have ended when their lanes are used again.
	r.exchanges++
	lane := r.exchanges % lanes
	knocks := c.exchange().Request + c.exchange().Response
	r.network.relay.begin(lane, knocks, line.Slow, line.Undisturbed, 0)
	k := knock{client: r.cfg.Client, core: r.cores[len(r.cores)-1], attempts: 1, timeout: rowTimeout}
	o, err := k.run(ctx, r.network.client, s.profile(lane))
	if err != nil {
		return nil, 0, err
	}
	if err := r.network.relay.failure(); err != nil {
		return nil, 0, err
	}
	if stolen, err = r.stolen(before); err != nil || !o.Opened || o.OpenBefore {
		return nil, stolen, err
	}
	granted, err := s.granted(clientAddress(lane), o.started)
	if err != nil {
		return nil, 0, err
	}
	seen := r.network.relay.traced(lane)
	if granted.IsZero() || seen.last.IsZero() || seen.answered.IsZero() {
		return nil, 0, fmt.Errorf("the client found the service open, but the grant, the last knock or the answer is missing: %+v", seen)
	}
	return &Times{
		Start: seen.began.Sub(o.started), Exchange: seen.last.Sub(seen.began), Open: granted.Sub(seen.began),
		Seen: seen.answered.Sub(seen.began), Process: o.ended.Sub(o.started),
	}, stolen, nil
}

func (r *run) stolen(before []clock.Ticks) (share float64, err error) {
	after, err := clock.TicksOf(r.cores)
	return clock.MostStolen(before, after), err
}
