package client

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestUnwatchedNonces: a client that never learns whether a sequence has opened
// something sends both its next nonces and, from the third call on, those by the clock.
// So it gets in whether the server refuses the latter, or has accepted them.
func TestUnwatchedNonces(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
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
		wantClock, wantAll := 0, DefaultUnwatched+1
		if call > 2 {
			wantClock, wantAll = 1, DefaultUnwatched+2
		}
		if call > 3 {
			wantAll = 2*DefaultUnwatched + 2
		}
		if clock != wantClock || len(bases) != wantAll || !opened["shield"] || !opened["no shield"] {
			t.Errorf("call %d: nonces %d, %d by the clock; opened %v", call, bases, clock, opened)
		}
	}
}

// TestUnwatchedAddresses: the last attempt also goes to the addresses that only the
// resolver gives, and at once if all that the profile names refuse the knocks.
func TestUnwatchedAddresses(t *testing.T) {
	if !canReceiveICMP {
		t.Skip("no ICMP errors reach the client on this system")
	}
	if !ownNetwork(t) {
		return
	}
	p := profile()
	at, open := bindKnockPorts(t, p)
	for _, c := range open {
		defer c.Close()
	}
	here, dead := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.99")
	p.Server, p.Service = "localhost", ":51820/udp"
	for _, row := range []struct {
		named    netip.Addr
		attempts int
		to       []netip.Addr // of sequences to this minute's ports
		result   netip.Addr
	}{
		{here, 2, []netip.Addr{here, here}, here},
		{dead, 2, []netip.Addr{dead, dead, here}, here},
		{dead, 1, []netip.Addr{dead, here}, here},
	} {
		p.Addresses = []netip.Addr{row.named}
		var to []netip.Addr
		var result Result
		var err error
		// On a busy machine, the kernel may deliver ICMP errors after the attempt.
		for range 10 {
			to = nil
			result, err = Knock(t.Context(), Config{
				Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Attempts: row.attempts, Family: IPv4,
				Now: func() time.Time { return at },
				Report: func(e Event) {
					if sent, ok := e.(Sent); ok && !sent.Previous {
						to = append(to, sent.Address)
					}
				},
			})
			if slices.Equal(to, row.to) && result.Address == row.result {
				break
			}
		}
		if err != nil || result.Address != row.result || !slices.Equal(to, row.to) {
			t.Errorf("%v: %+v, %v; sent to %v", row.named, result, err, to)
		}
	}
}
