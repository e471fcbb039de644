package client

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestUnwatchedNonces: a client that never learns whether a sequence has opened
// something sends both its next nonces and, from the third call on, those by the clock.
// So it gets in whether the server refuses the latter, or has accepted them.
func TestUnwatchedNonces(t *testing.T) {
	at, open := bindKnockPorts(t, profile())
	for _, c := range open {
		defer c.Close()
	}
	p := profile()
	p.Service = ""
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce"), First: 1000}
	servers := map[string]*modelServer{"shield": {shield: true}, "no shield": {}}
	for call := 1; call <= 4; call++ {
		var bases []uint32
		clock := 0
		opened := map[string]bool{}
		_, err := Knock(t.Context(), Config{
			Profile: p, Nonces: f, Now: func() time.Time { return at },
			Report: func(e Event) {
				sent, ok := e.(Sent)
				if !ok {
					return
				}
				if bases = append(bases, sent.Base); sent.ByClock {
					clock++
				}
				for name, s := range servers {
					opened[name] = s.receive(sent.Base, slices.Repeat([]bool{true}, p.Ports)) || opened[name]
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		wantClock, wantAll := 0, DefaultAttempts+1
		if call > 2 {
			wantClock, wantAll = 1, DefaultAttempts+2
		}
		if call > 3 {
			wantAll = 2*DefaultAttempts + 2
		}
		if clock != wantClock || len(bases) != wantAll || !opened["shield"] || !opened["no shield"] {
			t.Errorf("call %d: nonces %d, %d by the clock; opened %v", call, bases, clock, opened)
		}
	}
}
