package bench

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/bench/clock"
	"sallyport/bench/flood"
	"sallyport/bench/report"
	"sallyport/bench/target"
)

// inTime is the time within which an honest knock must have its effect.
const inTime = 50 * time.Millisecond

// window is one flood of one target, measured.
type window struct {
	seconds  float64
	host     counts
	received uint64            // by the program
	counters map[string]uint64 // the server's; nil: a sink
	server   time.Duration     // processor time
	receive  time.Duration
	steal    float64
	resident uint64 // the maximum
	logLines uint64

	sent    flood.Sent
	honest  int // knocks sent
	opened  int // attempts that opened
	prompt  int // of these, in time
	latency *hdrhistogram.Histogram
	answers answers
	// difference names the counters that do not add up; empty if all do.
	difference string
}

// survival returns the share of honest knocks that had their effect at all, and in
// time. If an attempt has several knocks, an authentic knock had its effect, and
// the share of late knocks is that of late attempts. That is not a number if no attempt
// opened a service.
func (w window) survival(knocks int) (atAll, timely float64) {
	arrived := float64(w.opened)
	if knocks > 1 {
		arrived = float64(w.counters["authentic"])
	}
	atAll = arrived / float64(w.honest)
	if atAll == 0 {
		return 0, 0
	}
	return atAll, atAll * float64(w.prompt) / float64(w.opened)
}

// state has the counters that are read before and after a window.
type state struct {
	host     counts
	usage    target.Usage
	receive  time.Duration
	cores    [2]clock.Ticks
	received uint64
	counters map[string]uint64
}

func (r *benchRun) state(ctx context.Context, t *tested) (s state, err error) {
	if s.host, err = r.network.count(); err != nil {
		return s, err
	}
	if s.usage, err = t.process().Usage(); err != nil {
		return s, err
	}
	if r.network.softirq != "" {
		if s.receive, err = target.ThreadTime(r.network.softirq); err != nil {
			return s, err
		}
	}
	for i, core := range []int{r.network.serverCore, r.network.floodCore} {
		if s.cores[i], err = clock.CoreTicks(core); err != nil {
			return s, err
		}
	}
	if t.sink != nil {
		s.received, err = t.sink.Received()
		return s, err
	}
	if s.counters, err = t.server.Counters(ctx); err != nil {
		return s, err
	}
	s.received = s.counters["received"]
	return s, nil
}

// quiet reads the state when no frame arrives: frames of the last window can still be
// in the link's queue, and must not arrive between two counters.
func (r *benchRun) quiet(ctx context.Context, t *tested) (s state, err error) {
	const patience = 3 * time.Second
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if s, err = r.state(ctx, t); err != nil {
			return s, err
		}
		now, err := r.network.count()
		if err != nil || now.arrived == s.host.arrived || time.Now().After(end) {
			return s, err
		}
	}
}

// measure plays a stream to a target, and returns the measured window. With asks, the
// admin socket of the server is asked meanwhile.
func (r *benchRun) measure(ctx context.Context, t *tested, s flood.Stream, attempts []attempt, asks bool) (w window, err error) {
	before, err := r.quiet(ctx, t)
	if err != nil {
		return w, err
	}
	if t.server != nil {
		if _, err := t.server.Opened(); err != nil { // discards earlier grants
			return w, err
		}
	}
	offset := clock.Offset()
	sampled := r.sampleMemory(t)
	if asks {
		stop := ask(ctx, t)
		w.sent, err = r.network.play(ctx, s)
		w.answers = stop()
	} else {
		w.sent, err = r.network.play(ctx, s)
	}
	w.seconds = s.For.Seconds() // without the preparation of the generator
	w.resident = sampled()
	if err != nil {
		return w, fmt.Errorf("flood: %w", err)
	}
	after, err := r.settle(ctx, t, before, &w)
	if err != nil {
		return w, err
	}
	w.host = after.host.minus(before.host)
	w.received = after.received - before.received
	w.server = after.usage.Processor - before.usage.Processor
	w.receive = after.receive - before.receive
	w.logLines = after.usage.LogLines - before.usage.LogLines
	for i := range after.cores {
		w.steal = max(w.steal, after.cores[i].StolenShare(before.cores[i]))
	}
	if len(attempts) == 0 {
		return w, nil
	}
	opened, err := t.server.Opened()
	if err != nil {
		return w, err
	}
	w.match(attempts, opened, offset)
	return w, nil
}

// settle waits until all counters include every packet: the server reads the
// kernel's drops once a second. It records the counters that still do not add up.
func (r *benchRun) settle(ctx context.Context, t *tested, before state, w *window) (after state, err error) {
	const patience = 3 * time.Second
	for end := time.Now().Add(patience); ; {
		select {
		case <-ctx.Done():
			return after, ctx.Err()
		case <-time.After(inTime + 50*time.Millisecond):
		}
		if after, err = r.state(ctx, t); err != nil || t.sink != nil {
			return after, err
		}
		w.counters = report.Since(after.counters, before.counters)
		host := after.host.minus(before.host)
		w.difference = report.Differences(w.counters, host.arrived, host.closed)
		if w.difference == "" || time.Now().After(end) {
			return after, nil
		}
	}
}

// match finds the grants of the honest attempts.
func (w *window) match(attempts []attempt, opened map[netip.Addr]time.Time, offset int64) {
	w.latency = hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	for _, at := range w.sent.Honest {
		if at > 0 {
			w.honest++
		}
	}
	for _, a := range attempts {
		sent := w.sent.Honest[a.last]
		at, ok := opened[a.source]
		if sent == 0 || !ok {
			continue
		}
		w.opened++
		took := time.Duration(at.UnixNano() - offset - sent)
		w.latency.RecordValue(max(1, took.Microseconds()))
		if took <= inTime {
			w.prompt++
		}
	}
}

// sampleMemory samples the memory of a target until stop is called. stop returns
// the maximum.
func (r *benchRun) sampleMemory(t *tested) (stop func() uint64) {
	done, result := make(chan struct{}), make(chan uint64)
	go func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		most := uint64(0)
		for {
			if u, err := t.process().Usage(); err == nil {
				most = max(most, u.Resident)
				t.memory.Seconds = append(t.memory.Seconds, time.Since(r.began).Seconds())
				t.memory.Bytes = append(t.memory.Bytes, float64(u.Resident))
			}
			select {
			case <-ticker.C:
			case <-done:
				result <- most
				return
			}
		}
	}()
	return func() uint64 {
		close(done)
		return <-result
	}
}
