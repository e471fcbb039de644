package xdp

import "testing"

// TestSizes: the rings of a host with many processors stay within the limit for all of
// them together.
func TestSizes(t *testing.T) {
	for _, processors := range []int{1, 2, 3, 128, 1000} {
		for _, slots := range []int{0, 1, 5000, DefaultSlots, maxSlots} {
			_, got, err := Sizes{Slots: slots}.round(processors)
			if err != nil {
				t.Fatal(err)
			}
			if got&(got-1) != 0 || got < minSlots || got > maxSlots {
				t.Errorf("%d slots become %d", slots, got)
			}
			if got > minSlots && int(got)*processors > maxRecords {
				t.Errorf("%d slots become %d, which are too many for %d processors", slots, got, processors)
			}
		}
	}
	for _, wrong := range []Sizes{{Slots: maxSlots + 1}, {Slots: -1}, {Clients: MaxClients + 1}, {Clients: -1}} {
		if _, _, err := wrong.round(2); err == nil {
			t.Errorf("%+v is no error", wrong)
		}
	}
}
