package daemon

import (
	"strconv"
	"testing"
	"time"

	"sallyport/sessions/gate"
)

// TestHistory: growth is in the minute of its sample, and 60 minutes are kept; a
// suspended host has empty ones.
func TestHistory(t *testing.T) {
	start := time.Unix(6000, 0)
	var h history
	value := uint64(5)
	at := func(after time.Duration, grows uint64) sample {
		value += grows
		return sample{start.Add(after), counters{{"mac", value}, {"received", 2 * value}}}
	}
	wall := func(t time.Time) time.Time { return t.Add(time.Hour) }
	h.add(at(0, 0)) // the first sample can come later than the first datagram
	h.add(at(50*time.Second, 3))
	h.add(at(61*time.Second, 4))
	r := h.read(at(70*time.Second, 1), wall)
	if len(r.Minutes) != 2 || r.Minutes[0].Refused["mac"] != 8 || r.Minutes[1].Refused["mac"] != 5 || r.Minutes[0].Seconds != 60 || r.Minutes[1].Seconds != 10 ||
		len(r.Minutes[0].Refused) != 1 || !r.Minutes[1].Begin.Equal(start.Add(time.Hour+time.Minute)) || !r.Now.Equal(start.Add(time.Hour+70*time.Second)) {
		t.Errorf("%+v", r)
	}
	h.add(at(10*time.Minute, 7)) // after a pause
	r = h.read(at(10*time.Minute, 0), wall)
	if len(r.Minutes) != 11 || len(r.Minutes[9].Refused) != 0 || r.Minutes[10].Refused["mac"] != 7 || r.Minutes[0].Refused["mac"] != 8 {
		t.Errorf("after a pause: %+v", r)
	}
	for m := range 200 {
		h.add(at(time.Duration(11+m)*time.Minute, uint64(m)))
	}
	r = h.read(at(210*time.Minute, 0), wall)
	if len(r.Minutes) != historyMinutes {
		t.Fatalf("%d minutes", len(r.Minutes))
	}
	for i, m := range r.Minutes {
		if want := uint64(200 - historyMinutes + i); m.Refused["mac"] != want {
			t.Errorf("minute %d: %d, want %d", i, m.Refused["mac"], want)
		}
	}
	r = h.read(at(24*time.Hour, 2), wall)
	if len(r.Minutes) != historyMinutes || len(r.Minutes[0].Refused) != 0 || r.Minutes[59].Refused["mac"] != 2 {
		t.Errorf("after a day: %+v", r.Minutes[59])
	}
}

// TestHistoryAfterReload: a reload can add counters and leave some out.
func TestHistoryAfterReload(t *testing.T) {
	start := time.Unix(6000, 0)
	var h history
	h.add(sample{start, counters{{"mac", 5}}})
	h.add(sample{start.Add(time.Second), counters{{"magic", 2}, {"mac", 7}}})
	r := h.read(sample{start.Add(2 * time.Second), counters{{"mac", 8}}}, func(t time.Time) time.Time { return t })
	if len(r.Minutes) != 1 || r.Minutes[0].Refused["mac"] != 8 {
		t.Errorf("%+v", r)
	}
}

// TestHistoryOfLeases: the last leases that ended are kept, in their order.
func TestHistoryOfLeases(t *testing.T) {
	var h history
	start := time.Unix(6000, 0)
	for i := range maxEnded + 10 {
		h.end(gate.Lease{Service: strconv.Itoa(i), Since: start}, gate.Revoked, start.Add(time.Duration(i)*time.Second))
	}
	r := h.read(sample{at: start}, func(t time.Time) time.Time { return t })
	if len(r.Ended) != maxEnded || r.Ended[0].Service != "10" || r.Ended[maxEnded-1].Service != strconv.Itoa(maxEnded+9) ||
		r.Ended[0].Reason != "revoked" || !r.Ended[0].Until.Equal(start.Add(10*time.Second)) || !r.Ended[0].Since.Equal(start) {
		t.Errorf("%d: %+v", len(r.Ended), r.Ended[0])
	}
}
