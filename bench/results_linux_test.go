package bench

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/bench/flood"
	"sallyport/bench/netns"
	"sallyport/bench/report"
)

func TestMatch(t *testing.T) {
	const offset = 1_800_000_000_000_000_000 // the Unix time of 0 on the monotonic clock
	sent := time.Second
	at := func(after time.Duration) time.Time { return time.Unix(0, offset+int64(sent+after)) }
	address := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 19, 0, i}) }
	w := window{sent: flood.Sent{Honest: []int64{int64(sent), int64(sent), int64(sent), int64(sent), 0}}}
	attempts := []attempt{{address(1), 0}, {address(2), 1}, {address(3), 2}, {address(4), 3}, {address(5), 4}}
	w.match(attempts, map[netip.Addr]time.Time{
		address(1): at(time.Millisecond), address(2): at(inTime), address(3): at(inTime + time.Microsecond), address(5): at(0),
	}, offset)
	if w.honest != 4 || w.opened != 3 || w.prompt != 2 {
		t.Errorf("%d sent, %d opened, %d in time", w.honest, w.opened, w.prompt)
	}
	if p50 := w.latency.ValueAtQuantile(50); p50 < 49_900 || p50 > 50_100 {
		t.Errorf("median %d µs", p50)
	}
	if atAll, timely := w.survival(1); atAll != 0.75 || timely != 0.5 {
		t.Errorf("survival %v, %v", atAll, timely)
	}
	// In a sequence of several knocks, each authentic one survived.
	w.counters = map[string]uint64{"authentic": 4}
	if atAll, timely := w.survival(3); atAll != 1 || timely < 0.66 || timely > 0.67 {
		t.Errorf("survival %v, %v", atAll, timely)
	}
	if _, timely := (window{honest: 3}).survival(1); timely != 0 {
		t.Errorf("nothing opened, but %v", timely)
	}
	w.opened, w.prompt = 0, 0
	if atAll, timely := w.survival(3); atAll != 1 || !math.IsNaN(timely) {
		t.Errorf("no attempt opened, but the survival is %v, %v", atAll, timely)
	}
}

// aWindow returns a window with n honest knocks, of which some opened a service.
func aWindow(n, opened int, offered, arrived uint64) window {
	return window{
		seconds: 1, honest: n, opened: opened, prompt: opened, host: counts{offered: offered, arrived: arrived},
		received: arrived, latency: hdrhistogram.New(1, 1000, 3),
	}
}

func TestRatios(t *testing.T) {
	var b results
	b.add(0, sinkJunk, aWindow(0, 0, 100, 100))
	b.add(0, readJunk, aWindow(0, 0, 100, 90))
	b.add(0, capacity, aWindow(0, 0, 100, 20))
	b.add(0, magic, aWindow(100, 30, 100, 25))
	b.add(0, magicOpen, aWindow(100, 10, 100, 10))
	b.add(0, magicHalf, aWindow(100, 99, 10, 10))
	stolen := aWindow(0, 0, 1, 1)
	stolen.steal = report.MaxSteal + 0.01
	if !b.add(0, wholeMAC, stolen) || b.windows != 7 || b.discarded != 1 {
		t.Errorf("%d windows, %d discarded", b.windows, b.discarded)
	}
	b.add(1, sinkJunk, aWindow(0, 0, 100, 100)) // the other window was discarded
	res := b.result(Config{Rounds: 2, Window: time.Second}, map[string]*tested{})
	for name, want := range map[string]float64{
		"read_vs_sink": 0.9, "survival_badmagic": 1.5, "survival_badmagic_half": 0.99, "filter_gain": 3,
	} {
		if got := res.Ratios[name]; got.Kept != 1 || math.Abs(got.Median-want) > 1e-9 {
			t.Errorf("%s: %+v, want %v", name, got, want)
		}
	}
	if got := res.Ratios["badmac_vs_sink"]; got.Kept != 0 {
		t.Errorf("of discarded windows: %+v", got)
	}
	if len(res.Rows) != 6 || res.Conditions.ThrownAway != 1 {
		t.Errorf("%d rows", len(res.Rows))
	}
}

func TestFailures(t *testing.T) {
	gentle := step{"junk", shipped, light, true}
	sound := aWindow(10, 10, 5, 5)
	dead := aWindow(10, 9, 5, 5)
	full := aWindow(10, 9, 5, 5)
	full.host.full = 1
	wrong := sound
	wrong.difference = "arrived: 2, of which 1"
	for _, row := range []struct {
		name    string
		windows []window
		want    string
	}{
		{"no failure", []window{sound, sound}, ""},
		{"a lost knock", []window{sound, dead}, "of 10 honest knocks only 90.0 % had an effect"},
		{"a lost knock under overload", []window{sound, full}, ""},
		{"overload at a light load", []window{full, full}, "2 of 2 windows with a light load were overloaded"},
		{"no knock at all", []window{aWindow(0, 0, 5, 5)}, "no honest knock was sent"},
		{"a sum", []window{wrong}, "the counters do not add up: arrived: 2"},
	} {
		var b results
		for i, w := range row.windows {
			b.add(i, gentle, w)
		}
		got := strings.Join(b.failures(), "\n")
		if (row.want == "") != (got == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}

// TestNoFloodInAnotherNetwork: Run refuses a network with an interface that is
// up.
func TestNoFloodInAnotherNetwork(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	away := netns.NewHost(t)
	here := netns.End{Name: "eth0", Addresses: []string{"198.51.100.1/24"}}
	netns.Connect(t, here, away, netns.End{Name: "eth0", Addresses: []string{"198.51.100.2/24"}})
	if _, err := Run(t.Context(), Config{}); !errors.Is(err, ErrNotAlone) {
		t.Errorf("got %v", err)
	}
}

func TestPlansMeasureWhatRatiosNeed(t *testing.T) {
	for name, p := range map[string]plan{"full": fullPlan, "quick": quickPlan} {
		seen := map[step]bool{}
		for _, s := range slices.Concat(p.compared, p.once, p.turns) {
			if seen[s] {
				t.Errorf("%s: %s twice", name, s)
			}
			seen[s] = true
		}
		for _, s := range []step{sinkJunk, readJunk, sinkMAC, wholeMAC, refuseAll, filterUnknown, capacity, magic, magicOpen, magicHalf, idleRelaxed,
			dropMagic, shieldCapacity, shieldMagic, plainMagic, ringRead, ringVerified, ringMillion, shieldNamed, shieldJunk, idleShield, ownShares, ownNoShares, ownNetwork} {
			if !seen[s] {
				t.Errorf("%s: no %s", name, s)
			}
		}
		if name != "full" {
			continue
		}
		needed := []step{millionMAC, dropUnknown, shieldUnknown, turnShield}
		for _, c := range curvesOf {
			for _, l := range curveLoads {
				needed = append(needed, c.at(l))
			}
		}
		for _, s := range needed {
			if !seen[s] {
				t.Errorf("no %s", s)
			}
		}
		for _, s := range slices.Concat(p.without().compared, p.without().once, p.without().turns) {
			if shieldTargets[s.target] {
				t.Errorf("%s without the shield", s)
			}
		}
	}
}
