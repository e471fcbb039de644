package report

import (
	"encoding/xml"
	"errors"
	"html"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// readFixture returns a result of testdata. result.json is made up, so that all parts of a
// page have content; earlier.json is a quick run of a version that had no curves.
func readFixture(t *testing.T, name string) Result {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func pageOf(t *testing.T, res Result) string {
	t.Helper()
	var b strings.Builder
	if err := res.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHTML(t *testing.T) {
	res := sample()
	res.Failures = []string{"the counters do not <add> up"}
	res.Omitted = []string{"the shield: no <privilege>"}
	text := pageOf(t, res)
	for _, want := range []string{
		"do not &lt;add&gt; up", "the &lt;server", "Left out: the shield: no &lt;privilege&gt;",
		`<small class="missed">missed`, "<code>magic</code> 7", "<dt>within 50 ms</dt><dd>30.0 %, 20.0 %, 40.0 %</dd>", "</html>",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	// A figure that was not measured has one line together with the others, and no row.
	if strings.Count(text, "filter_gain") != 1 || !strings.Contains(text, "survival_badmagic_half, filter_gain, xdp_badmagic_vs_drop_all") ||
		!strings.Contains(text, html.EscapeString(howToMeasure)) {
		t.Errorf("figures that were not measured: %q", res.unmeasured())
	}
	selfContained(t, text)
}

// selfContained fails if a page refers to anything outside.
func selfContained(t *testing.T, text string) {
	t.Helper()
	for _, reference := range []string{"<script", "<link", "src=", "href=", "@import", "url("} {
		if strings.Contains(text, reference) {
			t.Errorf("the page refers to something: %s", reference)
		}
	}
}

func TestPageOfPartialResults(t *testing.T) {
	text := pageOf(t, Result{})
	if strings.Contains(text, "<svg") || !strings.Contains(text, "No figure was measured.") {
		t.Errorf("an empty result: %s", text)
	}
	for _, hollow := range []Result{
		{Rows: []Row{{Scenario: "junk", Target: "sink", Load: "highest"}}},
		{Rows: []Row{{Scenario: "junk", Target: "shipped", Load: "highest", Kept: 1, InTime: &Spread{}, Survival: &Spread{}, Latency: &Quantiles{}}}},
		{Curves: []Curve{{Configuration: XDP, Scenario: refusable}}, Memory: []Series{{Target: "shipped"}}, Openings: []Opening{{Type: "web"}}},
		{Curves: []Curve{{Configuration: "unheard of", Scenario: "x", Points: []CurvePoint{{1, SpreadOf([]float64{1}), SpreadOf([]float64{1})}}}}},
	} {
		for _, text := range []string{pageOf(t, hollow), comparisonOf(t, hollow, sample()), comparisonOf(t, sample(), hollow)} {
			if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
				t.Errorf("%+v: a figure that is no number in\n%s", hollow, text)
			}
		}
	}
}

// TestPicturesAreDocuments parses each picture, which stands alone as a file.
func TestPicturesAreDocuments(t *testing.T) {
	var names []string
	for _, p := range readFixture(t, "result.json").Plots() {
		names = append(names, p.Name)
		d := xml.NewDecoder(strings.NewReader(string(p.SVG())))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", p.Name, err)
			}
		}
		if !strings.Contains(string(p.SVG()), "prefers-color-scheme: dark") {
			t.Errorf("%s is light only", p.Name)
		}
	}
	if !slices.Equal(names, plotOrder) {
		t.Errorf("pictures: %q, expected %q", names, plotOrder)
	}
}

// TestEarlierResult draws a result that has no curves, no configurations and no shield.
func TestEarlierResult(t *testing.T) {
	res := readFixture(t, "earlier.json")
	text := pageOf(t, res)
	f := res.findings()
	sentences := strings.Join(append(append(f.Survives, f.Costs...), f.Lead), " ")
	if strings.Contains(text, "xdp-paper") || strings.Contains(text, ">shield</text>") || strings.Contains(sentences, "shield") {
		t.Error("the page has a shield that was not measured")
	}
	for _, want := range []string{">socket</text>", ">filter</text>", ">sink</text>", "This was a quick run"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	selfContained(t, text)
	text = comparisonOf(t, res, readFixture(t, "result.json"))
	for _, want := range []string{"survival_own_one_network", "Conditions that differ", "Not comparable: "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the comparison with a later result", want)
		}
	}
	selfContained(t, text)
}

// TestOneColour checks that a configuration has the same style in all pictures.
func TestOneColour(t *testing.T) {
	text := pageOf(t, readFixture(t, "result.json"))
	label := regexp.MustCompile(`class="[a-z ]*(ink-\w+)">(socket|filter|shield|two readers|sink|reject all|xdp-paper)</text>`)
	want := map[string]string{
		"socket": "ink-socket", "filter": "ink-filter", "two readers": "ink-filter", "shield": "ink-shield",
		"sink": "ink-reference", "reject all": "ink-reference", "xdp-paper": "ink-reference",
	}
	seen := map[string]int{}
	for _, m := range label.FindAllStringSubmatch(text, -1) {
		seen[m[2]]++
		if m[1] != want[m[2]] {
			t.Errorf("%s has the style %s, expected %s", m[2], m[1], want[m[2]])
		}
	}
	for name := range want {
		if seen[name] == 0 {
			t.Errorf("no picture names %s", name)
		}
	}
}
