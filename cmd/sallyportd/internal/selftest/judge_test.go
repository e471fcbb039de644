package selftest

import (
	"errors"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
)

// TestJudge: a test that opened nothing is a miss, unless one of the known reasons excuses
// it.
func TestJudge(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for name, row := range map[string]struct {
		change func(*evidence)
		want   Result
	}{
		"nothing arrives":      {func(*evidence) {}, Missed},
		"the session is stuck": {func(e *evidence) { e.outcomes[sessions.Recorded] = 2 }, Missed},
		"the session refuses":  {func(e *evidence) { e.outcomes[sessions.Replay] = 3 }, Missed},
		"the gate refuses":     {func(e *evidence) { e.outcomes[sessions.Failed] = 1 }, Missed},
		"a slow test":          {func(e *evidence) { e.late = maxLate }, Missed},
		"a slewed clock":       {func(e *evidence) { e.after.Offset += maxShift }, Missed},
		"earlier drops":        {func(e *evidence) { e.before.Dropped, e.after.Dropped = 7, 7 }, Missed},
		"a drop":               {func(e *evidence) { e.after.Dropped++ }, Excused},
		"a crowded queue":      {func(e *evidence) { e.after.Crowded = true }, Excused},
		"one that was crowded": {func(e *evidence) { e.before.Crowded = true }, Excused},
		"late timers":          {func(e *evidence) { e.late = maxLate + 1 }, Excused},
		"a port is taken":      {func(e *evidence) { e.after.Unopened = 1 }, Excused},
		"a port was taken":     {func(e *evidence) { e.before.Unopened = 1 }, Excused},
		"the disk is full":     {func(e *evidence) { e.outcomes[sessions.Unrecorded] = 1 }, Excused},
		"etcd hangs":           {func(e *evidence) { e.slow = true }, Excused},
		"a step forward":       {func(e *evidence) { e.after.Offset += time.Hour }, Excused},
		"a step back":          {func(e *evidence) { e.after.Offset -= time.Hour }, Excused},
		"a suspension":         {func(e *evidence) { e.after.Suspended += time.Hour }, Excused},
		"a gap":                {func(e *evidence) { e.after.Received = now.Add(1) }, Excused},
		"before the start":     {func(e *evidence) { e.outcomes[sessions.BeforeStart] = 3 }, Excused},
		"no socket":            {func(e *evidence) { e.unsent = errors.New("no address") }, Excused},
	} {
		e := evidence{knocks: 9, before: Load{Received: now}, after: Load{Received: now}}
		row.change(&e)
		if got, why := judge(e); got != row.want || why == "" {
			t.Errorf("%s: %s, %q; want %s", name, got, why, row.want)
		}
	}
}

// TestVerdicts: only misses in a row, after a test has passed, stop the watchdog.
func TestVerdicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v verdicts
		passed, row := false, 0
		for _, r := range rapid.SliceOfN(rapid.Uint8Range(0, uint8(NumResults)-1), 0, 30).Draw(t, "results") {
			v.add(Result(r))
			switch Result(r) {
			case Passed:
				passed, row = true, 0
			case Excused:
				row = 0
			case Missed:
				if passed {
					row++
				}
			}
			if v.alive() != (row < 3) {
				t.Fatalf("%d misses in a row: alive %v", row, v.alive())
			}
		}
	})
}

func TestHostDrops(t *testing.T) {
	const two = "0000272d 00000002 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003 00000000 00000000\n" +
		"000034d9 0000000a 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001\n"
	for text, want := range map[string]uint64{"": 0, two: 15, "1 2\n": 2, "x y z\n": 0} {
		if got := HostDrops(fstest.MapFS{"net/softnet_stat": {Data: []byte(text)}}); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	const connections = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error\n" +
		"00000019  00000000 00000013 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000002 0000000a 00000007\n" +
		"00000019  00000000 00000013 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000010 00000000 00000000\n"
	proc := fstest.MapFS{"net/softnet_stat": {Data: []byte(two)}, "net/stat/nf_conntrack": {Data: []byte(connections)}}
	if got := HostDrops(proc); got != 15+29 {
		t.Errorf("with connections: %d", got)
	}
	if got := HostDrops(fstest.MapFS{"net/stat/nf_conntrack": {}}); got != 0 {
		t.Errorf("an empty file: %d", got)
	}
	if got := HostDrops(fstest.MapFS{}); got != 0 {
		t.Errorf("no file: %d", got)
	}
}

// TestUntilQuiet: no test begins near the turn of a minute, and none waits for long.
func TestUntilQuiet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "now"))
		d := untilQuiet(now)
		at := now.Add(d)
		since := at.Sub(at.Truncate(time.Minute))
		if d < 0 || d > 2*quiet || since < quiet || since > time.Minute-quiet {
			t.Fatalf("waits %s, and begins %s after the turn", d, since)
		}
	})
}
