package bench

import (
	"math"
	"testing"
	"time"

	"sallyport/bench/report"
	"sallyport/bench/scenario"
	"sallyport/verify/wire"
)

func TestShieldRatios(t *testing.T) {
	// paid returns a window in which packets cost processor time, some of them lost.
	paid := func(arrived, received uint64, cost time.Duration) window {
		w := aWindow(0, 0, 2*arrived, arrived)
		w.received, w.server, w.receive = received, cost/4, cost*3/4
		return w
	}
	alone := func(authentic uint64) window {
		w := aWindow(100, 3, 200, 200) // the server grants few leases
		w.counters = map[string]uint64{"authentic": authentic}
		return w
	}
	var b results
	b.add(0, dropMagic, paid(1000, 0, 100*time.Microsecond))
	b.add(0, shieldCapacity, paid(500, 0, 100*time.Microsecond))
	b.add(0, sinkMAC, paid(1000, 800, 800*time.Microsecond))
	b.add(0, ringRead, paid(4000, 2000, 800*time.Microsecond))
	b.add(0, shieldMagic, aWindow(100, 80, 1000, 0))
	b.add(0, plainMagic, aWindow(100, 5, 1000, 0))
	b.add(0, turnShield, aWindow(100, 60, 1000, 0))
	b.add(0, ringMillion, aWindow(100, 98, 1000, 0))
	b.add(0, shieldNamed, aWindow(100, 72, 1000, 0))
	b.add(0, shieldJunk, aWindow(100, 90, 1000, 0))
	b.add(0, ownShares, alone(60))
	b.add(0, ownNoShares, alone(40))
	b.add(0, ownNetwork, alone(95))
	res := b.result(Config{Rounds: 1, Window: time.Second}, map[string]*tested{})
	for name, want := range map[string]float64{
		"xdp_badmagic_vs_drop_all": 0.5, "ring_read_vs_sink": 0.4, "survival_xdp": 1.6, "survival_xdp_vs_plain": 16,
		"survival_xdp_turn": 0.75, "survival_ring_badmac_1m": 0.98, "survival_others_named_flood": 0.8,
		"survival_own_vs_no_shares": 1.5, "survival_own_one_network": 0.95,
	} {
		if got := res.Ratios[name]; got.Kept != 1 || math.Abs(got.Median-want) > 1e-9 {
			t.Errorf("%s: %+v, want %v", name, got, want)
		}
	}
	for _, r := range res.Rows {
		alone := r.Scenario == ownShares.kind || r.Scenario == ownNetwork.kind
		if r.InTime != nil && (r.Latency == nil) != alone {
			t.Errorf("%s at %s: latency %v", r.Scenario, r.Target, r.Latency)
		}
	}
	for _, r := range report.Ratios {
		if _, ok := res.Ratios[r.Name]; !ok && !r.Latency {
			t.Errorf("%s is in the report, but not in the result", r.Name)
		}
	}
}

func TestCurves(t *testing.T) {
	var b results
	for run := range 3 {
		b.add(run, step{"bad-magic", shielded, highest, true}, aWindow(100, 50+run, 4_000_000, 0))
		b.add(run, step{"bad-magic", shielded, "0.1 M/s", true}, aWindow(100, 100, 99_000, 0))
		b.add(run, step{"sniffed", unfiltered, oneMillion, true}, aWindow(100, 20, 900_000, 0))
		b.add(run, step{"sniffed", unfiltered, half, true}, aWindow(100, 20, 900_000, 0)) // no point
	}
	curves := b.curves()
	if len(curves) != 2 || curves[0].Configuration != report.Socket || curves[1].Configuration != report.XDP {
		t.Fatalf("%+v", curves)
	}
	points := curves[1].Points
	if len(points) != 2 || points[0].Planned != 1e5 || points[0].Offered.Median != 99_000 || points[0].Survival.Median != 1 ||
		points[1].Planned != 10e6 || points[1].Offered.Kept != 3 || points[1].Survival.Median != 0.51 {
		t.Errorf("%+v", points)
	}
}

func TestTurnSoon(t *testing.T) {
	minute := time.Unix(60*1000, 0)
	for second, want := range map[int]bool{0: false, 30: false, 51: true, 55: true, 57: false, 59: false} {
		if got := turnSoon(minute.Add(time.Duration(second) * time.Second)); got != want {
			t.Errorf("at second %d: %v", second, got)
		}
	}
}

// TestVariedIdentifiers: the frames of a flood with unknown identifiers name no client,
// those with bad HMACs only clients.
func TestVariedIdentifiers(t *testing.T) {
	clients := map[wire.Identifier]bool{}
	for i := range scenario.MaxClients {
		clients[scenario.ClientID(i)] = true
	}
	for name, named := range map[string]bool{"unknown": false, "bad-mac": true} {
		k, _ := scenario.ByName(name)
		v := varied(k, million)
		for _, random := range []byte{0, 0x55, 0xff} {
			id := wire.Identifier(v.Base)
			for i := range id {
				id[i] |= random & v.Mask[i]
			}
			if !id.Valid() || clients[id] != named {
				t.Errorf("%s: %q", name, id)
			}
		}
	}
}
