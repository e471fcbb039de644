package main

import (
	"strings"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/state"
)

func TestGapFindings(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	at := func(d time.Duration) uint32 { return uint32(now.Add(d).Unix()) }
	for _, row := range []struct {
		contents state.Contents
		want     []string
	}{
		{state.Contents{}, nil},
		{state.Contents{Gap: state.Gap{Fresh: true}}, nil},
		{state.Contents{Gap: state.Gap{NotBeforeMargin: time.Minute}}, []string{"up to 1m0s after it"}},
		{state.Contents{Gap: state.Gap{LostUntil: now}}, nil},
		{state.Contents{Gap: state.Gap{LostUntil: now.Add(time.Hour)}}, []string{"rejects knocks stamped up to 2027-01-15 09:00:00 +00:00"}},
		{state.Contents{Entries: []sessions.Entry{{Stamp: at(time.Minute)}}}, nil},
		{state.Contents{Entries: []sessions.Entry{{Stamp: at(61 * time.Second)}, {Stamp: at(0)}}}, []string{"stamped 2027-01-15 08:01:01 +00:00"}},
	} {
		got := gapFindings(row.contents, envAt(now))
		if len(got) != len(row.want) || len(got) > 0 && !strings.Contains(got[0].Text, row.want[0]) {
			t.Errorf("%+v: %q, want %q", row.contents, got, row.want)
		}
	}
}
