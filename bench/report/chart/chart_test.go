package chart

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		axis Axis
		want []float64
	}{
		{Linear("", []Row{{Marks: []Mark{{Value: 3486}}}}), []float64{0, 1000, 2000, 3000, 4000}},
		{Linear("", []Row{{Marks: []Mark{{Parts: []float64{1, 1.5}}}}}), []float64{0, .5, 1, 1.5, 2, 2.5}},
		{Linear("", nil), []float64{0, .2, .4, .6, .8, 1}},
		{Logarithmic("", []Row{{Marks: []Mark{{Low: .1, Value: .5, High: 40}}}}), []float64{.1, 1, 10}},
		{Logarithmic("", []Row{{Marks: []Mark{{Value: 12}, {Value: 400}}}}), []float64{30, 100, 300}},
		{Logarithmic("", []Row{{Marks: []Mark{{Value: 3}, {Value: math.NaN()}}}}), []float64{2, 5}},
		{Logarithmic("", nil), []float64{1, 2, 5, 10}},
	} {
		got := c.axis.ticks()
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9*(1+b) }) {
			t.Errorf("%+v: ticks %v, expected %v", c.axis, got, c.want)
		}
	}
}

// TestScale checks that values beyond an axis stay in the picture.
func TestScale(t *testing.T) {
	for _, s := range []scale{{Axis{Min: 0, Max: 4}, 100, 200}, {Axis{Min: .25, Max: 4, Log: true}, 100, 200}} {
		for _, f := range []float64{-1, 0, s.Min, 1, s.Max, 1e9, math.MaxFloat64} {
			if at := s.at(f); !(at >= 100 && at <= 200) {
				t.Errorf("%+v: %g is at %g", s.Axis, f, at)
			}
		}
	}
	if at := (scale{Axis{Min: .25, Max: 4, Log: true}, 100, 200}).at(1); at != 150 {
		t.Errorf("the middle is at %g", at)
	}
}

// TestNamesDoNotOverlap places the names of lines that end at the same value.
func TestNamesDoNotOverlap(t *testing.T) {
	var l Lines
	for _, y := range []float64{0, 0, .01, 1, 1} {
		l.Lines = append(l.Lines, Line{Points: []Point{{Y: y}}})
	}
	l.Lines = append(l.Lines, Line{Name: "without points"})
	ends := l.ends(scale{Axis{Max: 1}, 300, 30}, 30, 300)
	if len(ends) != 5 {
		t.Fatalf("%d names", len(ends))
	}
	for i, e := range ends {
		if e.y < 30 || e.y > 300 || i > 0 && e.y-ends[i-1].y < 18 {
			t.Errorf("name %d is at %g, after %+v", i, e.y, ends[max(0, i-1)].y)
		}
	}
}

func TestEscaping(t *testing.T) {
	rows := Rows{Alternative: `"<a>"`, Axis: Axis{Max: 1}, Rows: []Row{{Group: "<g>", Sub: "<s>", Label: "<l>", Marks: []Mark{{Text: "<t>", Short: "<u>"}}}}}
	text := string(Inline(Panels{{"<p>", rows}}))
	for _, tag := range []string{"<a>", "<g>", "<s>", "<l>", "<t>", "<u>", "<p>"} {
		if strings.Contains(text, tag) || !strings.Contains(text, "&lt;"+tag[1:2]+"&gt;") {
			t.Errorf("%s is not escaped", tag)
		}
	}
	if strings.Contains(text, `label="`+`p>: "`) || strings.Contains(string(Document("<t>", rows)), `"<`) {
		t.Error("an attribute is not escaped")
	}
}

// TestAxisLabels checks that labels of an axis do not overlap, and are at equal distances.
func TestAxisLabels(t *testing.T) {
	labels := regexp.MustCompile(`soft middle">([0-9]+) %<`)
	for width, want := range map[float64][]string{400: {"0", "25", "50", "75", "100"}, 190: {"0", "50", "100"}, 130: {"0", "50", "100"}, 100: {"0", "75"}, 60: {"0"}} {
		c := &canvas{width: width}
		c.axisX(scale{Axis{Max: 100, Ticks: []float64{0, 25, 50, 75, 100}, Unit: " %"}, 10, width - 20}, 0, 100)
		var got []string
		for _, m := range labels.FindAllStringSubmatch(c.b.String(), -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, want) || strings.Count(c.b.String(), `class="grid"`) != 5 {
			t.Errorf("at %g pixels: %q, expected %q", width, got, want)
		}
	}
}

// TestLongLabels checks that labels leave room for data on a narrow screen.
func TestLongLabels(t *testing.T) {
	rows := Rows{Axis: Axis{Max: 1}, Rows: []Row{{Label: "survival_others_named_flood", Marks: []Mark{{Value: 1, Text: "0.960"}}}}}
	narrow := rows.draw(narrowWidth)
	if !strings.Contains(narrow.b.String(), `<text x="0" `) {
		t.Errorf("the label is not above its mark:\n%s", &narrow.b)
	}
}
