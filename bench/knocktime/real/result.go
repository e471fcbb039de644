package real

import (
	"cmp"
	"encoding/json"
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
	Scheme  challenge.Scheme
	Refused string // the reason for which check accepts no layout of the row; empty: it does
	First   uint16 // the ports of both messages
	Last    uint16
	Shared  bool // both messages use the same ports
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
	case (r.Exchange().Median-r.Line).Abs()*100 > r.Line*tolerance:
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

func (r Row) name() string { return r.String() + ", " + r.Scheme.String() }

// Point is a point of a curve: many exchanges by one configuration on one line.
type Point struct {
	Curve    Curve            `json:"curve"`
	Scheme   challenge.Scheme `json:"scheme"`
	Restart  int              `json:"restart,omitempty"`
	Delay    time.Duration    `json:"delay_ns,omitempty"`
	Line     string           `json:"line"`
	Network  string           `json:"network"` // the model's name
	Refused  string           `json:"refused,omitempty"`
	Trials   int              `json:"trials"`
	Failed   int              `json:"failed"`    // at the first attempt
	Expected float64          `json:"predicted"` // the share that fails at the first attempt
	Stolen   float64          `json:"stolen"`    // the share of a core's time that other machines took
	// With the attempts that the client makes by default, if the curve lets it.
	Opened int           `json:"opened"`
	Median time.Duration `json:"median_ns"` // of the processes that opened the service
	P95    time.Duration `json:"p95_ns"`
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

type jsonRow struct {
	Table     int              `json:"table"`
	DataBits  int              `json:"data_bits"`
	Scheme    challenge.Scheme `json:"scheme"`
	DelayMS   int64            `json:"delay_ms"`
	Refused   string           `json:"refused,omitempty"`
	Ports     []uint16         `json:"ports,omitempty"`
	Shared    bool             `json:"shared_ports,omitempty"`
	PaperS    float64          `json:"paper_s"`
	ModelS    float64          `json:"model_s"`
	LineS     float64          `json:"line_s"`
	Repeats   int              `json:"repeats"`
	Discarded int              `json:"discarded"`
	Exchange  []float64        `json:"exchange_s"` // each measured one
	Open      []float64        `json:"open_s"`
	Seen      []float64        `json:"seen_s"`
	Start     []float64        `json:"start_s"`
	Process   []float64        `json:"process_s"`
}

// MarshalJSON returns the row with all of its measured times.
func (r Row) MarshalJSON() ([]byte, error) {
	each := func(of func(Times) time.Duration) (all []float64) {
		for _, t := range r.Measured {
			all = append(all, of(t).Round(time.Microsecond).Seconds())
		}
		return all
	}
	j := jsonRow{
		Table: r.Table, DataBits: r.DataBits, Scheme: r.Scheme, DelayMS: r.Delay.Milliseconds(),
		Refused: r.Refused, Shared: r.Shared,
		PaperS: r.Paper.Time.Seconds(), ModelS: r.Model().Time.Seconds(), LineS: r.Line.Seconds(),
		Repeats: len(r.Measured), Discarded: r.Discarded,
		Exchange: each(func(t Times) time.Duration { return t.Exchange }),
		Open:     each(func(t Times) time.Duration { return t.Open }),
		Seen:     each(func(t Times) time.Duration { return t.Seen }),
		Start:    each(func(t Times) time.Duration { return t.Start }),
		Process:  each(func(t Times) time.Duration { return t.Process }),
	}
	if r.Refused == "" {
		j.Ports = []uint16{r.First, r.Last}
	}
	return json.Marshal(j)
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

// group is by what a curve has a table of its own.
func (p Point) group() string {
	if p.Curve == Losses {
		return ""
	}
	return p.Scheme.String()
}
