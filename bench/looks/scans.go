package looks

import (
	"fmt"
	"io"
	"math"

	"sallyport/verify/schedule"
)

// allPorts is the number of ports from which knock ports are drawn.
const allPorts = 1<<16 - schedule.MinPort

// Scan is a scan of some ports, with a live knock port among them, from many addresses: each
// port is probed until it answers, a few times at most.
type Scan struct {
	Sources int     `json:"sources"`
	Ports   int     `json:"ports"`
	Seconds float64 `json:"seconds"`
	Silent  int     `json:"silent"` // ports
	Found   bool    `json:"found"`  // the knock port is one of them
	// All is how many seconds all ports would take at this rate.
	All float64 `json:"all_s"`
}

// failure returns what contradicts the policy: without stealth, a knock port is silent; with
// it, all ports are.
func (s Scan) failure(family int, policy string) string {
	switch {
	case !s.Found:
		return fmt.Sprintf("IPv%d%s: the knock port answers a scan", family, with(policy))
	case policy == "stealth" && s.Silent < s.Ports:
		return fmt.Sprintf("IPv%d%s: %d of %d ports answer a scan", family, with(policy), s.Ports-s.Silent, s.Ports)
	}
	return ""
}

// OffPath is a scanner that sees no answer to its probes, because it forges their addresses.
// A test sends some more of them than the kernel may answer at once, to a group of ports, and
// then a probe from an own address: that gets an error only if the others have left one.
type OffPath struct {
	Group  int     `json:"group"`  // ports of a test
	Tests  int     `json:"tests"`  // of each kind
	PerSec float64 `json:"per_s"`  // tests
	Among  float64 `json:"among"`  // the share of tests with an own error, if a knock port is in the group
	Closed float64 `json:"closed"` // the share, if all ports of the group are closed
	// All is how many seconds all ports take at least; 0: the tests show no difference.
	All float64 `json:"all_s"`
}

// z is the quantile of the normal distribution for an error of 5 %.
const z = 1.645

// all returns how many seconds all ports take: each group is tested as often as necessary
// for errors of 5 % of both kinds.
func (o OffPath) all() float64 {
	n := float64(o.Tests)
	if n == 0 || o.PerSec == 0 {
		return 0
	}
	// None of some tests is no proof that the share is 0.
	clamp := func(p float64) float64 { return min(max(p, 0.5/n), 1-0.5/n) }
	p, q := clamp(o.Among), clamp(o.Closed)
	both := (p + q) / 2
	if math.Abs(p-q) < 3*math.Sqrt(2*both*(1-both)/n) {
		return 0
	}
	times := math.Ceil(math.Pow(z*(math.Sqrt(p*(1-p))+math.Sqrt(q*(1-q)))/(p-q), 2))
	return math.Ceil(allPorts/float64(o.Group)) * max(times, 1) / o.PerSec
}

// writeScans prints the results of scans.
func writeScans(out io.Writer, results []Result) (err error) {
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(out, format, args...)
		}
	}
	for _, r := range results {
		at := fmt.Sprintf("IPv%d%s", r.Family, with(r.Policy))
		if s := r.Scan; s != nil {
			result := fmt.Sprintf("all ports in %.0f s", s.All)
			if s.Silent == s.Ports {
				result = "no difference"
			}
			line("%s: a scan of %d ports from %d addresses in %.1f s: %d are silent, with the knock port: %t; %s\n",
				at, s.Ports, s.Sources, s.Seconds, s.Silent, s.Found, result)
		}
		if o := r.OffPath; o != nil {
			result := "no difference"
			if o.All > 0 {
				result = fmt.Sprintf("all ports in %.0f s at least", o.All)
			}
			line("%s: off path, groups of %d ports: %.1f tests a second; an own error in %.0f %% of %d tests with the knock port, and in %.0f %% without: %s\n",
				at, o.Group, o.PerSec, 100*o.Among, o.Tests, 100*o.Closed, result)
		}
	}
	return err
}

// with names a policy after something else.
func with(policy string) string {
	if policy == "" {
		return ""
	}
	return " with " + policy
}
