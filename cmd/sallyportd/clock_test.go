package main

import (
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/sessions/clock"
)

// TestClockText: status and check name whether the clock is synchronised, and by whom.
func TestClockText(t *testing.T) {
	yes := clock.Sync{Known: true, Synchronised: true, By: "the kernel's PLL", MaxError: 31400 * time.Microsecond}
	no := clock.Sync{Known: true}
	for _, row := range []struct {
		sync          clock.Sync
		keepers       []string
		want, problem string
	}{
		{yes, []string{"chronyd"}, "synchronised by chronyd, wrong by 31ms at most", ""},
		{yes, []string{"chronyd", "phc2sys"}, "synchronised by chronyd and phc2sys, wrong by 31ms at most", ""},
		{yes, []string{}, "synchronised by no time service that is known here: the kernel's PLL, wrong by 31ms at most", ""},
		{yes, nil, "synchronised by a program that is not visible here: the kernel's PLL, wrong by 31ms at most", ""},
		{no, []string{}, "not synchronised", "run chrony, ntpd or systemd-timesyncd"},
		{no, nil, "not synchronised", "on the host"},
		{no, []string{"chronyd"}, "not synchronised, although chronyd runs", "chronyc tracking"},
		{no, []string{"htpdate"}, "not synchronised, although htpdate runs", "reaches no server"},
		{clock.Sync{}, nil, "not known whether it is synchronised", ""},
	} {
		c := daemon.ClockState(row.sync, row.keepers)
		if got := clockText(c); got != row.want {
			t.Errorf("%+v %q: got %q, want %q", row.sync, row.keepers, got, row.want)
		}
		found := checkClock(c, time.Minute, "noon")
		hints := ""
		for _, f := range found {
			hints += f.Code + ": " + f.Hint
		}
		if (hints == "") != (row.problem == "") || !strings.Contains(hints, row.problem) {
			t.Errorf("%+v %q: found %+v, want a hint with %q", row.sync, row.keepers, found, row.problem)
		}
		e := clockOf(c)
		if e.text != row.want || (e.Synchronised == nil) == row.sync.Known || (e.Programs == nil) != (row.keepers == nil) {
			t.Errorf("%+v: %+v", row.sync, e)
		}
	}
}
