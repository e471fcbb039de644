package firewall

import (
	"strings"
	"testing"
	"time"
)

// FuzzOwnership: for each name of an owner, the lines are comments that nft
// accepts, and parsing them returns the name.
func FuzzOwnership(f *testing.F) {
	f.Add("/etc/sallyport/sallyport.toml", "2c26b46b68ffc68f")
	f.Add("/srv/a \"b\"%41\\\n\xff"+strings.Repeat("ä%", 200), "")
	f.Fuzz(func(t *testing.T, config, generation string) {
		m := ownership{owner: Owner{config, generation}, made: stamp{"5f1c", 12 * time.Second}, content: "abc"}
		if config != "" {
			m.jumps, m.refused = "limits,"+generation, config
		}
		lines := m.lines()
		for _, line := range lines {
			if len(line) > 127 || strings.Trim(line, " ") == "" || strings.ContainsAny(line, "\"\\\n") {
				t.Errorf("%q is no comment", line)
			}
		}
		if got, ok := parseOwnership(lines); !ok || got != m {
			t.Errorf("%+v reads as %+v, %v", m, got, ok)
		}
		if got, ok := parseOwnership(append(lines, lines...)); !ok || got != m {
			t.Errorf("%+v reads twice as %+v, %v", m, got, ok)
		}
	})
}

func TestOwnershipOfOtherText(t *testing.T) {
	for _, lines := range [][]string{nil, {"config /etc/x"}, {"sallyport table, format 1", "config x"}} {
		if m, ok := parseOwnership(lines); ok {
			t.Errorf("%q is a mark: %+v", lines, m)
		}
	}
}
