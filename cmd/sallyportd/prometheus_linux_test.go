package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// containerDir has the dashboard and the alerts.
const containerDir = "../../container"

// TestPrometheus: a real Prometheus reads the metrics of two servers under a flood. promtool
// finds no fault in the metrics, the alerts and their tests; each query of the dashboard has
// data, each alert can be evaluated, and the right ones fire.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"prometheus", "promtool", "etcd"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("needs " + name)
		}
	}
	if !netns.EnterPrivileged(t) {
		return
	}
	promtool(t, "", "check", "rules", filepath.Join(containerDir, "alerts.yaml"))
	promtool(t, "", "test", "rules", filepath.Join(containerDir, "alerts.test.yaml"))
	w := newObservedWorld(t)
	begin := time.Now()
	w.visit(t)
	w.shield.flood(t, w.shield.guests[1])
	flooded := "SallyportFlood"
	netns.Until(t, "the alert about the flood", func() bool {
		if w.shield.next < 50 { // honest clients get in meanwhile, each at its address
			w.shield.knock(t, w.a, w.shield.guests[0], shieldHost)
		}
		floodFor(t, w.shield.there, time.Second)
		return w.alerts(t)[flooded].State == "firing"
	})
	w.visit(t)
	for name, a := range w.alerts(t) {
		if a.Type != "alerting" || a.Health != "ok" || a.LastError != "" {
			t.Errorf("%s: %+v", name, a)
		}
		if slices.Contains([]string{"SallyportDown", "SallyportNotReady", "SallyportHolderLost", "SallyportFleetUnavailable", "SallyportStateNotWritten", "SallyportKnockPortsFailed"}, name) && a.State != "inactive" {
			t.Errorf("%s: %s", name, a.State)
		}
	}
	for _, at := range []string{metricsOfA, metricsOfB} {
		promtool(t, scrape(t, at), "check", "metrics")
	}
	// The visits are in the next samples.
	var lacks []string
	netns.Until(t, "each query of the dashboard has data", func() bool {
		lacks = w.lacking(t, begin)
		return len(lacks) == 0
	}, func() string { return strings.Join(lacks, "\n") })
	w.a.cmd.Process.Kill()
	w.etcd.Kill(0)
	netns.Until(t, "the alerts about a server and etcd that are gone", func() bool {
		all := w.alerts(t)
		return all["SallyportDown"].State == "firing" && all["SallyportFleetUnavailable"].State == "firing"
	})
}

// promtool runs a command of promtool, which must find no fault.
func promtool(t *testing.T, input string, arguments ...string) {
	t.Helper()
	run := exec.Command("promtool", arguments...)
	run.Stdin = strings.NewReader(input)
	out, err := run.CombinedOutput()
	if err != nil || input != "" && len(out) > 0 {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

func scrape(t *testing.T, at string) string {
	t.Helper()
	response, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || len(text) < 1000 {
		t.Fatalf("%v, %d bytes", err, len(text))
	}
	return string(text)
}

// inSeconds makes each duration of the rules that is in minutes one of so many seconds.
func inSeconds(rules string) string {
	return regexp.MustCompile(`(\[|for: )(\d+)m\b`).ReplaceAllString(rules, "${1}${2}s")
}

// still are the queries of the dashboard whose values are zero while nothing is wrong, or
// the host has no time service.
var still = []string{
	"sallyport_clock_synchronised", "sallyport_knock_ports", "sallyport_service_waiting", "sallyport_datagrams_overrun_total",
	"sallyport_state_write_failures_total", "sallyport_queue_depth", "sallyport_carried_messages_total",
}

// lacking asks Prometheus all queries of the dashboard, with the variables as Grafana
// replaces them for "All", and returns those without data.
func (w *observedWorld) lacking(t *testing.T, since time.Time) (lacks []string) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(containerDir, "dashboard.json"))), &d); err != nil {
		t.Fatal(err)
	}
	variables := []string{"$__rate_interval", (4 * scrapeInterval).String()}
	for _, v := range d.Templating.List {
		query, ok := v.Query.(map[string]any)
		if !ok {
			continue // the data source
		}
		asked := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(query["query"].(string))
		if asked == nil {
			t.Fatalf("the variable %s has the query %v", v.Name, query)
		}
		var values []string
		w.ask(t, "label/"+asked[2]+"/values", url.Values{"match[]": {asked[1]}}, &values)
		if len(values) != 2 {
			t.Errorf("the variable %s has the values %v", v.Name, values)
		}
		for i := range values {
			values[i] = strings.ReplaceAll(regexp.QuoteMeta(values[i]), `\`, `\\`)
		}
		variables = append(variables, "$"+v.Name, "("+strings.Join(values, "|")+")")
	}
	replace := strings.NewReplacer(variables...)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			query := replace.Replace(target.Expr)
			if strings.Contains(query, "$") {
				t.Errorf("%s: a variable is left: %s", p.Title, query)
			}
			list := w.query(t, query, since)
			zero := slices.ContainsFunc(still, func(metric string) bool { return strings.Contains(query, metric) })
			if len(list) == 0 || !zero && !slices.ContainsFunc(list, series.moves) {
				lacks = append(lacks, fmt.Sprintf("%s: %d series, without values other than zero: %s", p.Title, len(list), query))
			}
		}
	}
	return lacks
}
