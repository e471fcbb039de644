package soak

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// planted is the action that opens a service by hand.
const planted = "planted violation"

// Result is the result of a run.
type Result struct {
	Seed    uint64         `json:"seed"`
	Planted bool           `json:"planted"` // a service was opened by hand
	Seconds float64        `json:"seconds"`
	Actions map[string]int `json:"actions_by_name"`
	In      map[string]int `json:"got_in"` // attempts by which a client got in, by protocol
	Counts
	Violations []Violation `json:"violations_found"`
	Log        []byte      `json:"log,omitempty"` // of all servers
}

// Failure returns why the run failed; empty: it has not. A run with a planted violation
// fails if the judge has not reported it, or has reported another one.
func (r Result) Failure() string {
	switch {
	case !r.Planted && r.Counts.Violations == 0:
		return ""
	case !r.Planted:
		return fmt.Sprintf("%d violations", r.Counts.Violations)
	case !slices.ContainsFunc(r.Violations, func(v Violation) bool {
		return strings.HasSuffix(v.What, "a stranger") && strings.HasPrefix(v.Before, planted)
	}):
		return "the planted violation was not reported"
	case slices.ContainsFunc(r.Violations, func(v Violation) bool { return !strings.HasPrefix(v.Before, planted) }):
		return "violations that were not planted"
	}
	return ""
}

// WriteText writes the counts, and each violation in a line.
func (r Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %.0f s, %d actions:\n", r.Seed, r.Seconds, r.Counts.Actions)
	names := make([]string, 0, len(r.Actions))
	for name := range r.Actions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%8d  %s\n", r.Actions[name], name)
	}
	fmt.Fprintf(&b, "clients and attackers:\n")
	for _, line := range []struct {
		n    int
		what string
	}{
		{r.Sequences, "complete sequences"}, {r.In["sequence"], "of which the client got in"},
		{r.Exchanges, "exchanges"}, {r.In["exchange"], "of which the client got in"},
		{r.Incomplete, "sequences without the last knock"}, {r.Revoked, "sequences of revoked clients"},
		{r.Replays, "replays"}, {r.Grants, "grants, each compared with the packets that were sent"}, {r.Lines, "lines of the log about grants, likewise"},
		{r.Looks, "connects, each compared with the leases"},
		{r.Exposures, "of which a service was exposed while the server restored the removed table"},
	} {
		fmt.Fprintf(&b, "%8d  %s\n", line.n, line.what)
	}
	fmt.Fprintf(&b, "%8d  violations\n", r.Counts.Violations)
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "  %s\n", v)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
