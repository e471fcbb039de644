package client

import "testing"

// TestZoneID: a zone is a name or an index, as in the addresses of package net.
func TestZoneID(t *testing.T) {
	for zone, want := range map[string]uint32{"lo": 1, "1": 1, "4294967295": 4294967295} {
		if got, err := zoneID(zone); got != want || err != nil {
			t.Errorf("%s: %d, %v", zone, got, err)
		}
	}
	for _, zone := range []string{"no-such-link", "4294967296", "-1"} {
		if got, err := zoneID(zone); err == nil {
			t.Errorf("%s: %d", zone, got)
		}
	}
}
