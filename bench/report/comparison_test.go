package report

import (
	"strings"
	"testing"
)

func comparisonOf(t *testing.T, before, after Result) string {
	t.Helper()
	var b strings.Builder
	if err := CompareHTML(&b, before, after); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompareHTML(t *testing.T) {
	before, after := sample(), sample()
	after.Machine.Kernel = "Linux <6.2>"
	after.Ratios["read_vs_sink"] = SpreadOf([]float64{0.99, 0.98, 0.98})
	before.Ratios["filter_gain"], after.Ratios["filter_gain"] = once(3), once(2)
	before.Ratios["badmac_vs_sink"], after.Ratios["badmac_vs_sink"] = once(.8), once(.8)
	after.Rows = append(after.Rows, flooded(refusable, "shield", XDP, .96, 6, 196))
	text := comparisonOf(t, before, after)
	for _, want := range []string{
		"the kernel differs: Linux 6.1, then Linux &lt;6.2&gt;",
		"<h3>Better than before</h3><ul><li>packets a second: receive path with junk, without the filter ÷ bare sink: 0.960 → 0.980 (&#43;2.1 %).</li>",
		"<h3>Worse than before</h3><ul><li>survival with the filter ÷ without, at the highest rate: 3.00 → 2.00 (-33.3 %).</li>",
		"Without a significant change: 1 figures", "<b>before</b>: A processor, 2 cores, Linux 6.1", "<b>after</b>: A processor",
		`<td class="reached">&#43;2.1 %<small>better</small>`, `<td class="missed">-33.3 %<small>worse</small>`,
		`class="socket dot hollow"`, `class="socket dot"`, "<td>– → 96.0 %</td>", "96.0 % of honest knocks", "<h3>before: bad-magic at shipped, highest</h3>",
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\u00a0", " "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	selfContained(t, text)
	text = comparisonOf(t, before, before)
	if strings.Contains(text, "than before") || strings.Contains(text, "Conditions that differ") {
		t.Error("a result differs from itself")
	}
}
