package main

import (
	"testing"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestSilentHolder: check warns of a holder that does not answer, and of no other.
func TestSilentHolder(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		holder *admin.Holder
		want   int
	}{
		"no server, or no holder": {nil, 0},
		"answers":                 {&admin.Holder{Connected: true}, 0},
		"silent":                  {&admin.Holder{Connected: true, Silent: true}, 1},
		"was given up":            {&admin.Holder{Silent: true}, 0},
	} {
		found := effectiveProcesses{holder: row.holder}.check(new(config.Config))
		if len(found) != row.want || row.want > 0 && found[0].Code != "holder-silent" {
			t.Errorf("%s: %v", name, found)
		}
	}
}
