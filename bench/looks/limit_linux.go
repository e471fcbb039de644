package looks

import (
	"context"
	"encoding/binary"
	"net/netip"
	"time"

	"sallyport/bench/scenario"
	"sallyport/verify/schedule"
)

// replay sends each captured sequence again and again, from the client's address, and
// counts the packets that come back. The knock ports still live.
func (w *testbed) replay(captured [][]scenario.Shot) (results []Result, err error) {
	for i, f := range families {
		var packets [][]byte
		for _, s := range captured[i] {
			packets = append(packets, knockPackets(f.client, f.server, s)...)
		}
		r := Replays{}
		err := pinned(func() error {
			began := time.Now()
			for time.Since(began) < w.Window/2 {
				for range 100 {
					for _, p := range packets {
						if err := w.send(p); err != nil {
							return err
						}
						r.Sent++
					}
				}
			}
			r.PerSec = float64(r.Sent) / time.Since(began).Seconds()
			got, err := w.drain()
			for _, a := range got {
				if a.to == f.client {
					r.Answers++
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		results = append(results, Result{Family: f.number, Probe: "replays", Replays: &r})
	}
	return results, nil
}

const (
	// scanners is the number of addresses of a scanner that has many.
	scanners = 1000
	// pace is how many datagrams a scanner sends a second: more than the kernel answers.
	pace = 10_000
)

// limits measures how many ICMP errors a second the kernel sends, with its defaults.
func (w *testbed) limits(ctx context.Context) (results []Result, err error) {
	for _, f := range families {
		for _, sources := range []int{1, scanners} {
			l := Limit{Sources: sources}
			err := pinned(func() error { return w.scan(ctx, f.server, f.scanners, &l) })
			if err != nil {
				return nil, err
			}
			results = append(results, Result{Family: f.number, Probe: "scan", Limit: &l})
		}
	}
	return results, nil
}

// scan sends datagrams to closed ports for a window, and counts the errors.
func (w *testbed) scan(ctx context.Context, server netip.Addr, network netip.Prefix, l *Limit) error {
	began, sent, errors := time.Now(), 0, 0
	for time.Since(began) < w.Window && ctx.Err() == nil {
		for range pace / 100 {
			bytes := network.Addr().AsSlice()
			binary.BigEndian.PutUint16(bytes[len(bytes)-2:], uint16(1+sent%l.Sources))
			source, _ := netip.AddrFromSlice(bytes)
			from, to := netip.AddrPortFrom(source, 40000), netip.AddrPortFrom(server, uint16(schedule.MinPort+sent%50_000))
			if err := w.send(whole(from, to, protocolUDP, datagram(from, to, nil))); err != nil {
				return err
			}
			sent++
		}
		got, err := w.drain()
		if err != nil {
			return err
		}
		for _, a := range got {
			if network.Contains(a.to) {
				errors++
			}
		}
		time.Sleep(time.Until(began.Add(time.Duration(sent) * time.Second / pace)))
	}
	seconds := time.Since(began).Seconds()
	l.Sent, l.Errors = float64(sent)/seconds, float64(errors)/seconds
	if l.Errors > 0 {
		l.Scan = (1<<16 - schedule.MinPort) / l.Errors
	}
	return ctx.Err()
}
