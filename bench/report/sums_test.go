package report

import (
	"maps"
	"strings"
	"testing"
)

// TestDifferencesOfShield: the sums close over the counters of the shield.
func TestDifferencesOfShield(t *testing.T) {
	sound := map[string]uint64{
		"shield_other": 3, "shield_empty": 1, "shield_flow": 2, "shield_socket": 4, "shield_ring": 10,
		"shield_magic": 50, "shield_ahead": 20, "shield_share": 6, "shield_full": 4, // 80 dropped
		"kernel": 2, "socket_filter_refused": 2, "received": 15, "authentic": 5, "mac": 10, "session_opened": 5,
	}
	if d := Differences(sound, 100, 3); d != "" {
		t.Errorf("sound: %s", d)
	}
	for name, want := range map[string]string{
		"shield_magic": "arrived: 100, of which 101 are accounted for; arrived at the shield: 100, of which 101",
		"shield_ring":  "arrived at the shield: 100, of which 101",
		"shield_other": "arrived at the shield: 100, of which 101",
		"received":     "arrived: 100, of which 101",
	} {
		wrong := maps.Clone(sound)
		wrong[name]++
		if d := Differences(wrong, 100, 3); !strings.Contains(d, want) {
			t.Errorf("one more in %s: %q", name, d)
		}
	}
}
