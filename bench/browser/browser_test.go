package browser

import (
	"strings"
	"testing"
)

// TestProbe checks that the probe finds faults.
func TestProbe(t *testing.T) {
	browser := Find(t)
	faults := map[string]string{
		"wide":    `<table><tr><td style="white-space:nowrap">` + strings.Repeat("NAME ", 400) + `</table>`,
		"folded":  `<details><summary>x</summary><div style="width:2000px">NAME</div></details>`,
		"cut":     `<div style="overflow:hidden;width:50px"><div style="width:80px">NAME</div></div>`,
		"outside": `<svg viewBox="0 0 100 20" width="100"><text x="90" y="10">NAME</text></svg>`,
		"overlap": `<svg viewBox="0 0 100 20" width="100"><text x="0" y="15">NAME</text><text x="9" y="15">two</text></svg>`,
	}
	body, sound := "", `<svg viewBox="0 0 300 20" width="300"><text x="0" y="15">sound</text><text x="99" y="15">two</text></svg>`
	for name, fault := range faults {
		body += strings.ReplaceAll(fault, "NAME", name)
	}
	misfits := strings.Join(browser.Probe(t, "<!DOCTYPE html><body>"+body+sound+"</body>", 1280).Misfits, "\n")
	for name := range faults {
		if !strings.Contains(misfits, name) {
			t.Errorf("%s is not in\n%s", name, misfits)
		}
	}
	if !strings.Contains(misfits, "the page is") || strings.Contains(misfits, "sound") {
		t.Error(misfits)
	}
}
