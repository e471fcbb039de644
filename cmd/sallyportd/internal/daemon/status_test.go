package daemon

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/metrics"
)

// TestCountersAreMetrics: each counter of the code is a sample, with its value.
func TestCountersAreMetrics(t *testing.T) {
	st := admin.Status{Counters: map[string]uint64{}}
	all := allCounters()
	for i, c := range all {
		st.Counters[c.name] = uint64(100001 + i)
	}
	if len(st.Counters) != len(all) {
		t.Errorf("%d counters have %d names", len(all), len(st.Counters))
	}
	var text bytes.Buffer
	if err := metrics.New(func() admin.Status { return st }).Text(&text); err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		if n := bytes.Count(text.Bytes(), fmt.Appendf(nil, " %d\n", 100001+i)); n != 1 {
			t.Errorf("the counter %s is in %d samples", c.name, n)
		}
	}
}

// TestRates: a rate is over the last minute, and over less after a start.
func TestRates(t *testing.T) {
	now := time.Unix(1000, 0)
	var o observed
	at := func(value uint64) sample { return sample{now, counters{{"mac", value}}} }
	expect := func(value uint64, want float64) {
		t.Helper()
		if got := o.rates(at(value)); len(got) != 1 || got[0] != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	expect(5, 0) // no sample yet
	o.add(at(100))
	expect(200, 0) // no time has passed
	now = now.Add(5 * time.Second)
	expect(200, 20)
	for range 2 * maxSamples { // none for longer than a minute
		o.add(at(200))
		now = now.Add(sampleInterval)
	}
	if len(o.samples) != maxSamples {
		t.Errorf("%d samples", len(o.samples))
	}
	expect(200, 0)
	expect(900, 10)
	if got := o.rates(sample{now, counters{{"mac", 1}, {"size", 1}}}); len(got) != 2 || got[0] != 0 {
		t.Errorf("other counters: %v", got)
	}
}

// TestStatusDuringReload: a change in progress does not delay the status.
func TestStatusDuringReload(t *testing.T) {
	s := new(Server)
	before, after := &config.Config{Path: "before"}, &config.Config{Path: "after"}
	s.reloads.current, s.reloads.clients = before, 1
	s.observed.inForce.Store(&inForce{before, 1})
	s.reloads.mu.Lock()
	s.reloads.current, s.reloads.clients = after, 2
	if now, changing := s.current(); !changing || now.cfg != before || now.clients != 1 {
		t.Errorf("during a change: %+v, %t", now, changing)
	}
	s.reloads.mu.Unlock()
	if now, changing := s.current(); changing || now.cfg != after || now.clients != 2 {
		t.Errorf("after it: %+v, %t", now, changing)
	}
}

// TestHolders: the first holder is no restart, also if there was none at the start.
func TestHolders(t *testing.T) {
	var o observed
	o.holderFound()
	for range 2 {
		o.holderLost()
		o.holderFound()
	}
	if n := o.holders.Load(); n != 2 {
		t.Errorf("%d restarts", n)
	}
}
