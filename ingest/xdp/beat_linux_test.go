package xdp

import (
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TestBeat: without a beat of the server, each datagram to a knock port passes to the
// sockets, whatever the settings are. With the next beat, the rules hold again.
func TestBeat(t *testing.T) {
	r := newRig(t, Sizes{Slots: 1 << 10})
	r.setTable(prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}}})
	r.setClients(wire.Identifier([]byte("com1")))
	const slack = 500 * time.Millisecond // this test may be slow, and the program's clock is behind
	for mode, program := range r.variants() {
		for _, age := range []struct {
			name   string
			silent time.Duration
			runs   bool
		}{
			{"now", 0, true},
			{"a beat that was late", 3 * BeatInterval, true},
			{"too old", BeatLimit + slack, false},
			{"long ago", time.Hour, false},
			{"never", Monotonic(), false},
			{"ahead, as the coarse clock is behind", -slack, true},
			{"of another clock, ahead", -time.Hour, false},
			{"again", 0, true},
		} {
			r.silent = age.silent
			for _, v6 := range []bool{false, true} {
				for _, row := range writtenRows(v6) {
					want := row.want
					if mode == "generic" && row.generic != 0 {
						want = row.generic
					}
					if !age.runs && want != CountOther {
						want = CountSocket
					}
					r.gets(program, mode+", "+age.name, v6, row, FlagRing|FlagClients|row.flags, want)
				}
			}
		}
	}
}

// TestShieldBeats: a shield has its first beat when it is mapped, and none once it is
// closed. The program sees both with the next tick, without a look of the test.
func TestShieldBeats(t *testing.T) {
	r := newRig(t, Sizes{Slots: 1 << 10})
	if n := r.settings.Beat.Load(); n != 0 {
		t.Errorf("the beat is %d before the first one", n)
	}
	s := mapProgram(t, r.Program)
	s.Set(prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}}})
	s.SetRing(true)
	counts := func(counter int) func() bool {
		return func() bool {
			before := r.counts()[counter]
			if _, _, err := r.native.Test(knock(nil)); err != nil {
				t.Fatal(err)
			}
			return r.counts()[counter] == before+1
		}
	}
	s.Beat()
	first := r.settings.Beat.Load()
	netns.Until(t, "a knock comes into the ring", counts(CountRing))
	s.Beat()
	next := r.settings.Beat.Load()
	s.Close()
	s.Beat()
	if last := r.settings.Beat.Load(); first == 0 || next <= first || last != 0 {
		t.Errorf("beats %d, %d, %d", first, next, last)
	}
	r.settings.Flags.Store(FlagRing) // only the beat is missing
	netns.Until(t, "a knock goes to the socket", counts(CountSocket))
}
