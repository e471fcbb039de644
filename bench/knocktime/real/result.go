package real

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"sallyport/bench/knocktime"
	"sallyport/verify/challenge"
)

// Result is all that Run measures.
type Result struct {
	Rows   []Row   `json:"rows"`
	Points []Point `json:"points"`
}

// Row is a row of the paper's tables with one scheme, over the paper's line.
type Row struct {
	knocktime.Row
	Scheme       challenge.Scheme
	SequenceBits int
	Refused      string // the reason for which check accepts no layout of the row; empty: it does
	First        uint16 // the ports of both messages
	Last         uint16
	Shared       bool // both messages use the same ports
	// Line is the model with delays that count from the sending of a packet; without
	// delays it is the model.
	Line      time.Duration
	Measured  []Times
	Discarded int // exchanges while other machines took the processor
}

// Times are the times of an exchange. All but Start are from the first bit of the
// request on the line.
type Times struct {
	Start    time.Duration // from the start of the client's process until then
	Exchange time.Duration // until the last packet of the response arrived: the paper's execution time
	Open     time.Duration // until the server's lease was in force
	Seen     time.Duration // until the answer of the open service reached the client
	Process  time.Duration // of the client's process, from its start to its end
}

// Spread is the median and the range of several times.
type Spread struct{ Median, Least, Most time.Duration }

// spread returns the median; of an even number, the lower one of both in the middle.
func spread[T any](all []T, of func(T) time.Duration) (s Spread) {
	if len(all) == 0 {
		return s
	}
	sorted := make([]time.Duration, len(all))
	for i, t := range all {
		sorted[i] = of(t)
	}
	slices.Sort(sorted)
	return Spread{sorted[(len(sorted)-1)/2], sorted[0], sorted[len(sorted)-1]}
}

// Exchange returns the measured times of exchanges.
func (r Row) Exchange() Spread {
	return spread(r.Measured, func(t Times) time.Duration { return t.Exchange })
}

// tolerance is how far a measured row may be from the line's time, in per cent.
const tolerance = 10

// Failure returns a text if a deployed row was not measured, or if its median is too
// far from the line's time.
func (r Row) Failure() string {
	switch {
	case r.Refused != "":
		return ""
	case len(r.Measured) == 0:
		return r.name() + ": no exchange succeeded"
	case r.off():
		return r.name() + ": " + inMS(r.Exchange().Median) + " ms, expected " + inMS(r.Line) + " ms"
	}
	return ""
}

// Failures returns the failures of all rows. Points cannot fail: their shares are the
// result.
func (r Result) Failures() (all []string) {
	for _, row := range r.Rows {
		if f := row.Failure(); f != "" {
			all = append(all, f)
		}
	}
	return all
}

func (r Row) name() string {
	if r.SequenceBits > 0 {
		return fmt.Sprintf("%s, %d sequence bits", r, r.SequenceBits)
	}
	return r.String() + ", " + r.Scheme.String()
}

// off reports whether the median of the measured exchanges is too far from the line's
// time.
func (r Row) off() bool { return (r.Exchange().Median-r.Line).Abs()*100 > r.Line*tolerance }

// Point is a point of a curve: many exchanges by one configuration on one line.
type Point struct {
	Curve    Curve
	Scheme   challenge.Scheme
	Restart  int
	Delay    time.Duration
	Line     string
	Network  string // the model's name
	Refused  string // the reason for which check does not accept the configuration; empty: it does
	Trials   int
	Failed   int     // at the first attempt
	Expected float64 // the share that fails at the first attempt, by the prediction
	Stolen   float64 // the share of a core's time that other machines took
	// Dropped is how many packets the kernel dropped before the server, at all points of
	// the configuration, because the server did not get a processor in time.
	Dropped uint64
	// With all attempts that the client may make on this curve.
	Opened int
	Median time.Duration // of the processes that opened the service
	P95    time.Duration
}

// mostStolen is the share of a core's time that other machines may take while something
// is measured.
const mostStolen = 0.12

// noise returns the reason for which the point depends on other work of the processor;
// empty: none.
func (p Point) noise() string {
	switch {
	case p.Stolen > mostStolen:
		return fmt.Sprintf("other machines took %s of a core", percent(p.Stolen))
	case p.Dropped > 0:
		return fmt.Sprintf("the kernel dropped %d packets before the server", p.Dropped)
	}
	return ""
}

// count counts an exchange.
func (p *Point) count(opened bool, attempts int) {
	p.Trials++
	if !opened || attempts > 1 {
		p.Failed++
	}
	if opened {
		p.Opened++
	}
}

// Curve is what varies along a curve.
type Curve string

// The curves.
const (
	Restarts Curve = "restarts"
	Delays   Curve = "delays"
	Losses   Curve = "losses"
)

// Share returns the share that failed at the first attempt, and its confidence
// interval of 95 % (Wilson's).
func (p Point) Share() (share, low, high float64) { return wilson(p.Failed, p.Trials) }

func wilson(k, n int) (share, low, high float64) {
	if n == 0 {
		return 0, 0, 1
	}
	const z = 1.959964
	share = float64(k) / float64(n)
	m := float64(n)
	middle := (share + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(share*(1-share)/m+z*z/(4*m*m))
	return share, max(0, middle-half), min(1, middle+half)
}

// quantile returns a quantile of sorted times; 0 if there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// sortPoints sorts the points of each curve as they are printed.
func sortPoints(points []Point) {
	order := map[Curve]int{Restarts: 0, Delays: 1, Losses: 2}
	slices.SortStableFunc(points, func(a, b Point) int {
		restart := func(p Point) int {
			if p.Restart == 0 {
				return math.MaxInt
			}
			return p.Restart
		}
		return cmp.Or(cmp.Compare(order[a.Curve], order[b.Curve]), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.group(), b.group()), cmp.Compare(networkOrder(a.Network), networkOrder(b.Network)),
			cmp.Compare(restart(a), restart(b)), cmp.Compare(a.Delay, b.Delay), cmp.Compare(a.Scheme, b.Scheme))
	})
}

// group returns the part of a curve to which the point belongs.
func (p Point) group() string {
	if p.Curve == Losses {
		return ""
	}
	return p.Scheme.String()
}
