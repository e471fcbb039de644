package metrics

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// names returns all names of names.go.
func names(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok {
			name, err := strconv.Unquote(lit.Value)
			if err != nil || all[name] {
				t.Errorf("%s: %v, or twice", lit.Value, err)
			}
			all[name] = true
		}
		return true
	})
	return all
}

// TestNamesAreUsed: each name is that of a sample, and each sample has such a name.
func TestNamesAreUsed(t *testing.T) {
	st := full()
	for _, f := range families {
		st.Counters[f.prefix] = 1
	}
	got := text(t, st)
	known := names(t)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(got, -1) {
		if !known[m[1]] {
			t.Errorf("%s is not in names.go", m[1])
		}
		delete(known, m[1])
	}
	for name := range known {
		t.Errorf("%s has no sample", name)
	}
}

// TestDashboards: the dashboard and the alerts query metrics that exist.
func TestDashboards(t *testing.T) {
	known := names(t)
	word := regexp.MustCompile(`\bsallyport_[a-z_]+`)
	for _, name := range []string{"dashboard.json", "alerts.yaml", "alerts.test.yaml"} {
		file, err := os.ReadFile(filepath.Join("../../../../container", name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".json") && !json.Valid(file) {
			t.Errorf("%s is not JSON", name)
		}
		used := word.FindAllString(string(file), -1)
		if len(used) < 10 {
			t.Errorf("%s queries %d metrics", name, len(used))
		}
		for _, metric := range used {
			if !known[metric] && !known[strings.TrimSuffix(metric, "_bucket")] {
				t.Errorf("%s queries %s, which does not exist", name, metric)
			}
		}
	}
}

// TestAlertsAreTested: the tests for promtool have each alert twice, once while nothing is
// wrong, and once when it fires.
func TestAlertsAreTested(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("../../../../container", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	tests := read("alerts.test.yaml")
	all := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read("alerts.yaml"), -1)
	if len(all) < 10 {
		t.Errorf("%d alerts", len(all))
	}
	for _, m := range all {
		for what, pattern := range map[string]string{"silent": `alertname: ` + m[1] + `, exp_alerts: \[\]`, "firing": `alertname: ` + m[1] + `\n +exp_alerts:\n +- exp_labels: `} {
			if !regexp.MustCompile(pattern).MatchString(tests) {
				t.Errorf("%s is not tested while it is %s", m[1], what)
			}
		}
	}
}

// panel is what Grafana 9 and later read of a panel.
type panel struct {
	ID          int
	Type, Title string
	Datasource  datasource
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct {
		Datasource                datasource
		Expr, LegendFormat, RefID string
	}
	Options map[string]any
}

type datasource struct{ Type, UID string }

// TestDashboardImports: Grafana can import the dashboard: panels have their own numbers and
// places, known types and units, and the data source that the reader chooses.
func TestDashboardImports(t *testing.T) {
	text, err := os.ReadFile("../../../../container/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title, UID    string
		SchemaVersion int
		Panels        []panel
		Templating    struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	// Later versions of Grafana upgrade a dashboard of 9.0, whose schema has the version 36.
	if d.Title == "" || d.UID == "" || d.SchemaVersion != 36 || len(d.Panels) < 15 {
		t.Errorf("%q, %q, schema %d, %d panels", d.Title, d.UID, d.SchemaVersion, len(d.Panels))
	}
	variables := map[string]bool{"__rate_interval": true}
	for i, v := range d.Templating.List {
		if variables[v.Name] = true; (v.Type == "datasource") != (i == 0) {
			t.Errorf("the variable %s has the type %s", v.Name, v.Type)
		}
	}
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(text), -1) {
		if !variables[m[1]] && m[1] != "__all" {
			t.Errorf("there is no variable %s", m[1])
		}
	}
	units := []string{"", "s", "pps", "ops", "percentunit"}
	ids, cells, chosen := map[int]bool{}, map[[2]int]string{}, datasource{"prometheus", "${datasource}"}
	for _, p := range d.Panels {
		if p.ID <= 0 || ids[p.ID] || p.Title == "" || p.Type != "stat" && p.Type != "timeseries" || p.Datasource != chosen ||
			!slices.Contains(units, p.FieldConfig.Defaults.Unit) || len(p.Targets) == 0 || len(p.Options) == 0 {
			t.Errorf("panel %+v", p)
		}
		ids[p.ID] = true
		at := p.GridPos
		if at.X < 0 || at.Y < 0 || at.W <= 0 || at.H <= 0 || at.X+at.W > 24 {
			t.Errorf("%s is at %+v", p.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Fatalf("%s and %s overlap", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		for i, target := range p.Targets {
			if target.Datasource != chosen || target.Expr == "" || target.LegendFormat == "" || target.RefID != string(rune('A'+i)) {
				t.Errorf("%s: target %+v", p.Title, target)
			}
		}
	}
}
