package main

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/ingest/xdp"
)

// TestCheckShield: what "check" prints of the shield, and its warnings, by code.
func TestCheckShield(t *testing.T) {
	yes, no := true, false
	eth0 := []admin.ShieldInterface{{Name: "eth0", Mode: "native"}}
	missing := fmt.Errorf("load the shield: %w", xdp.ErrPrivilege)
	for name, row := range map[string]struct {
		shield effectiveShield
		line   string
		codes  string
		hint   string
	}{
		"off, not known":  {effectiveShield{Mode: "off"}, "off; only root", "", ""},
		"off, possible":   {effectiveShield{Mode: "off", Possible: &yes, Interfaces: eth0}, "off; this host can have it (shield = \"xdp\"), on eth0 (native)", "", ""},
		"off, impossible": {effectiveShield{Mode: "off", Possible: &no, Why: "too old"}, "off; this host cannot have it: too old", "", ""},
		"possible":        {effectiveShield{Mode: "xdp", Possible: &yes, Flows: true, Interfaces: eth0}, "before the sockets, on eth0 (native)", "", ""},
		"not known":       {effectiveShield{Mode: "xdp", Interfaces: eth0}, "on eth0 (native)", "missing-capability", "guide"},
		"no privilege":    {effectiveShield{Mode: "xdp", Possible: &no, Why: missing.Error(), cause: missing}, "no interface", "shield-unavailable", "guide"},
		"an old kernel":   {effectiveShield{Mode: "xdp", Possible: &no, Why: "too old", cause: xdp.ErrKernel}, "no interface", "shield-unavailable", "\"off\""},
		"busy":            {effectiveShield{Mode: "xdp", Possible: &yes, Interfaces: eth0, busy: []string{"eth0"}}, "on eth0", "shield-busy", "eth0 xdp off"},
		"nowhere":         {effectiveShield{Mode: "xdp", Possible: &yes}, "no interface", "shield-not-attached", "shield_interfaces"},
		"a tunnel": {effectiveShield{Mode: "xdp", Possible: &yes, Interfaces: []admin.ShieldInterface{{Name: "wg0", Error: "no"}}},
			"wg0 (not attached)", "shield-not-attached", ""},
		"runs":    {effectiveShield{Mode: "xdp", Interfaces: eth0, running: &admin.Shield{On: true, Interfaces: eth0}}, "on eth0 (native)", "", ""},
		"gone":    {effectiveShield{Mode: "xdp", Possible: &yes, Interfaces: eth0, running: &admin.Shield{Error: "the holder is gone"}}, "on eth0", "shield-gone", ""},
		"mirrors": {effectiveShield{Mode: "xdp", Possible: &yes, Interfaces: eth0, Mirror: true}, "on eth0", "shield-mirror", "reload"},
	} {
		lines := row.shield.lines()
		if !strings.Contains(lines[0], row.line) {
			t.Errorf("%s: prints %q, want %q", name, lines[0], row.line)
		}
		passesBy := strings.Contains(strings.Join(lines, "\n"), "tcpdump")
		if passesBy != (row.shield.Mode == "xdp" && !row.shield.Mirror) {
			t.Errorf("%s: prints that tcpdump does not see all: %t", name, passesBy)
		}
		var codes, hints []string
		for _, f := range row.shield.check() {
			codes, hints = append(codes, f.Code), append(hints, f.Hint)
		}
		if got := strings.Join(codes, ","); got != row.codes || !strings.Contains(strings.Join(hints, "\n"), row.hint) {
			t.Errorf("%s: warns of %q with %q, want %q with %q", name, got, hints, row.codes, row.hint)
		}
	}
}
