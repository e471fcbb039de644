package report

import (
	"strings"
	"testing"
)

// TestReasons checks the reasons that other figures of a result give.
func TestReasons(t *testing.T) {
	res := readFixture(t, "result.json")
	for name, want := range map[string]string{
		"ring_read_vs_sink":           "for a packet, the driver's program and the kernel's thread take",
		"ring_verified_vs_sink":       "the process 388 ns.",
		"xdp_badmagic_vs_drop_all":    "with a program that drops everything.",
		"xdp_unknown_vs_drop_all":     "",
		"survival_xdp":                "were lost before the driver's program; of those that passed it, 5.9 % at the ring.",
		"survival_ring_badmac_1m":     "of those that passed it, 2.2 % at the ring.",
		"survival_others_named_flood": "5.9 % at the ring. The driver's program took 3.75 M packets a second of the flood, and ",
		"lone_p99":                    "Without the shield the 99th percentile is 2.38 ms on the same machine.",
		"survival_xdp_vs_plain":       "times would be all of them.",
		"survival_own_vs_no_shares":   "With shares 58.1 % (56–65) of the client's knocks survive, without shares 51.0 % (49–58).",
		"filter_gain":                 "No filter of a socket can gain much more than their ratio",
	} {
		if got := reasons[name](res); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, expected %q", name, got, want)
		}
		if got := reasons[name](Result{}); got != "" {
			t.Errorf("%s of nothing: %q", name, got)
		}
	}
}
