package opentime

import (
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/firewall"
)

func TestMeasure(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	all, err := Measure(20)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, o := range all {
		types[o.Type] = true
		q := o.Quantiles
		if o.Times < 20 || q.P50 <= 0 || q.P99 < q.P50 || q.Max < q.P99 {
			t.Errorf("%+v", o)
		}
		t.Logf("%+v", o)
	}
	for _, want := range []string{"web, the first", "web, one more", "proxy, TCP, the first", "proxy, UDP, one more", "firewall"} {
		if !types[want] {
			t.Errorf("no %s", want)
		}
	}
	if present, err := firewall.Present(); err != nil || present {
		t.Errorf("the table still exists: %v, %v", present, err)
	}
}
