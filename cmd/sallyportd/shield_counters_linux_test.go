package main

import (
	"fmt"
	"slices"
	"testing"

	"sallyport/bench/netns"
	"sallyport/ingest/xdp"
	"sallyport/sessions"
	"sallyport/verify"
)

// settled waits until the counters have each of the datagrams that were sent to knock
// ports, and returns them. They have none twice.
func (w *shieldWorld) settled(t *testing.T, what string, v *victim, sent uint64) (all map[string]uint64) {
	t.Helper()
	sums := func() string {
		return fmt.Sprintf("%d sent, %d counted; %d received, %d judged; %d authentic, %d decided\n%v",
			sent, counted(all), all["received"], judged(all), all["authentic"], decided(all), all)
	}
	netns.Until(t, what+": the counters have all frames", func() bool {
		all = traffic(t, w.dir)
		if counted(all) > sent {
			t.Fatalf("%s: a frame is in two counters: %s\n%s", what, sums(), v.log())
		}
		return counted(all) == sent && judged(all) == all["received"] && decided(all) == all["authentic"]
	}, sums, v.log)
	return all
}

// counted is the number of datagrams to knock ports in the counters: those that the
// shield dropped or took, and those that came to the sockets.
func counted(all map[string]uint64) (n uint64) {
	passed := []int{xdp.CountOther, xdp.CountEmpty, xdp.CountFlow, xdp.CountSocket}
	for i, name := range xdp.CountNames {
		if !slices.Contains(passed, i) {
			n += all["shield_"+name]
		}
	}
	return n + all["received"] - all["shield_ring"] + all["kernel"]
}

// judged is the number of datagrams of which the server has counted the result.
func judged(all map[string]uint64) (n uint64) {
	for r := range verify.NumReasons {
		n += all[verify.Reason(r).String()]
	}
	return n + all["overrun"]
}

// decided is the number of authentic knocks of which the sessions have counted the outcome.
func decided(all map[string]uint64) (n uint64) {
	for o := range sessions.NumOutcomes {
		if sessions.Outcome(o) != sessions.Failed { // it is counted as Opened, too
			n += all["session_"+sessions.Outcome(o).String()]
		}
	}
	return n
}
