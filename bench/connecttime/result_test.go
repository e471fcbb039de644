package connecttime

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func sample() Row {
	return Row{
		Link: "20 ms", Server: "sockets", Service: "web, closed", RoundTrips: 1, RoundTrip: 20 * ms,
		Plain: Times{40 * ms, 44 * ms, 41 * ms}, Knock: Times{66 * ms, 62 * ms, 86 * ms}, Process: Times{76 * ms, 70 * ms, 90 * ms},
	}
}

// TestMissed: each row changes one column, and names the goals that are then missed.
func TestMissed(t *testing.T) {
	for _, c := range []struct {
		change func(*Row)
		want   string
	}{
		{func(*Row) {}, ""},
		{func(r *Row) { r.Knock[0] += ms }, "p50"},
		{func(r *Row) { r.Knock[2] += ms }, "p99"},
		{func(r *Row) { r.Process[0] += ms }, "process p50"},
		{func(r *Row) { r.Plain[2] -= ms }, "p50, p99, process p50"},
		{func(r *Row) { r.RoundTrips = 2; r.Knock[0] += 20 * ms }, ""},
	} {
		r := sample()
		c.change(&r)
		if got := strings.Join(r.missed(), ", "); got != c.want {
			t.Errorf("missed %q, want %q", got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	r := sample()
	r.Knock[0] += ms
	var b strings.Builder
	if err := (Result{[]Row{sample(), r}}).Text(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if len(lines) < 5 || strings.TrimSpace(lines[1]) != "20 ms" {
		t.Fatalf("\n%s", b.String())
	}
	for i, want := range []string{
		"sockets web, closed one round trip 41.0 66.0 +5.0 +25.0 76.0 +15.0 reached",
		"sockets web, closed one round trip 41.0 67.0 +6.0 +25.0 76.0 +15.0 missed: p50",
	} {
		if got := strings.Join(strings.Fields(lines[i+2]), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(Result{[]Row{sample()}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"rows":[{"link":"20 ms","server":"sockets","service":"web, closed","round_trips":1,"round_trip_ms":20,"tries":3,` +
		`"plain":{"median_ms":41,"p99_ms":44},` +
		`"last_knock":{"median_ms":66,"p99_ms":86,"median_above_ms":5,"p99_above_ms":25,"ratio":1.6097560975609757},` +
		`"process":{"median_ms":76,"p99_ms":90,"median_above_ms":15,"p99_above_ms":29,"ratio":1.853658536585366}}]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// TestSetups: no two services of a server share a name, and none that the firewall hides is measured on the
// loopback.
func TestSetups(t *testing.T) {
	for _, s := range setups() {
		names := map[string]bool{}
		for _, v := range s.services {
			if names[v.name] {
				t.Errorf("%s has two services %q", s.name, v.name)
			}
			names[v.name] = true
		}
		for _, v := range s.onLoopback().services {
			if v.guards || strings.Contains(v.settings, filtered) || s.firewall {
				t.Errorf("%s: the firewall lets the loopback pass, so %s is open there", s.name, v.title)
			}
		}
	}
}
