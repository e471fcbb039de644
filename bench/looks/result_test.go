package looks

import (
	"strings"
	"testing"
)

func TestFailure(t *testing.T) {
	t.Parallel()
	result := func(silent bool, change func(*Phase)) Result {
		r := Result{Family: 4, Look: "a look", Probe: "SYN", Silent: silent}
		for i := range Phases {
			p := Phase{Sent: 9, Closed: []string{"a reset"}}
			if !silent || i == 0 { // without a server, the port is closed
				p.Answered, p.Kinds = 9, p.Closed
			}
			r.Phases = append(r.Phases, p)
		}
		change(&r.Phases[2])
		return r
	}
	for want, r := range map[string]Result{
		"":               result(true, func(*Phase) {}),
		" ":              result(false, func(*Phase) {}),
		"1 answers":      result(true, func(p *Phase) { p.Answered = 1 }),
		"a closed port":  result(false, func(p *Phase) { p.Kinds = []string{"another reset"} }),
		"identification": result(false, func(p *Phase) { p.ZeroIDs = true }),
		"8 of 9 probes":  result(false, func(p *Phase) { p.Answered = 8 }),
		"3 packets":      {Family: 4, Replays: &Replays{Sent: 9, Answers: 3}},
	} {
		f := r.Failure()
		if want = strings.TrimSpace(want); want == "" && f != "" || !strings.Contains(f, want) {
			t.Errorf("got %q, want %q", f, want)
		}
	}
}
