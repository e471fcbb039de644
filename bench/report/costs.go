package report

import (
	"fmt"
	"math"
)

func refused(r Row) bool { return r.Kept > 0 }

// refusalSentence compares the tiers by the cost of a packet that they refuse.
func (res Result) refusalSentence() string {
	var parts []string
	for i := len(configurations) - 1; i >= 0; i-- {
		c := configurations[i]
		if r, ok := res.find(refusable, usualLoad, c.key, refused); ok && c.key != "" {
			parts = append(parts, nanoseconds(r)+" with "+c.long)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	text := "Processor time for a packet with bad magic: " + list(parts) + "."
	if sink, ok := res.sink("junk"); ok {
		text += " A bare receive loop without any check takes " + nanoseconds(sink) + "."
	}
	return text
}

func nanoseconds(r Row) string { return fmt.Sprintf("%.0f ns", r.cost().Median) }

func (res Result) sink(scenario string) (Row, bool) {
	for _, r := range res.Rows {
		if r.Target == "sink" && r.Scenario == scenario && r.Load == usualLoad && r.Kept > 0 {
			return r, true
		}
	}
	return Row{}, false
}

func (res Result) wholeSentence() string {
	r, ok := res.find("bad-mac", usualLoad, Filter, refused)
	sink, found := res.sink("bad-mac")
	if !ok || !found || sink.cost().Median == 0 {
		return ""
	}
	text := fmt.Sprintf("A packet whose HMAC must be computed takes %s, %s times a bare receive loop", nanoseconds(r), short(r.cost().Median/sink.cost().Median))
	if s := res.Ratios["ring_verified_vs_sink"]; s.Kept > 0 {
		text += fmt.Sprintf("; through the ring of the shield %s times", short(s.Median))
	}
	return text + "."
}

func (res Result) millionSentence() string {
	s := res.Ratios["million_vs_hundred"]
	if s.Kept == 0 {
		return ""
	}
	return fmt.Sprintf("With a million clients a packet takes %s times the time that it takes with a hundred.", short(s.Median))
}

func (res Result) waitSentence() string {
	for i := len(configurations) - 2; i >= 0; i-- {
		c := configurations[i]
		r, ok := res.find("nothing", "idle", c.key, func(r Row) bool { return r.Latency != nil })
		if !ok {
			continue
		}
		return fmt.Sprintf("Without a flood, a knock has opened its service after %s ms (median; 99th percentile %s ms) with %s.",
			short(r.Latency.P50), short(r.Latency.P99), c.long)
	}
	return ""
}

// memorySentence names the target whose memory changed most in the second half of the run;
// in the first one it may still fill its pools.
func (res Result) memorySentence() string {
	most, name, n := 0.0, "", 0
	for _, s := range res.Memory {
		middle := len(s.Bytes) / 2
		if len(s.Bytes) < 2 || s.Bytes[middle] <= 0 {
			continue
		}
		n++
		if change := s.Bytes[len(s.Bytes)-1]/s.Bytes[middle] - 1; name == "" || math.Abs(change) > math.Abs(most) {
			most, name = change, s.Target
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("The largest change of a server's memory in the second half of the run: %+.1f %% (%s).", 100*most, plain(name))
}
