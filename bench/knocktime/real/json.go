package real

import (
	"encoding/json"
	"math"
	"time"

	"sallyport/verify/challenge"
)

type jsonRow struct {
	Table     int              `json:"table"`
	DataBits  int              `json:"data_bits"`
	Bits      int              `json:"sequence_bits,omitempty"`
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
		Table: r.Table, DataBits: r.DataBits, Bits: r.SequenceBits, Scheme: r.Scheme, DelayMS: r.Delay.Milliseconds(),
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

type jsonPoint struct {
	Curve    Curve            `json:"curve"`
	Scheme   challenge.Scheme `json:"scheme"`
	Restart  int              `json:"restart,omitempty"`
	DelayMS  float64          `json:"delay_ms,omitempty"`
	Line     string           `json:"line"`
	Network  string           `json:"network"`
	Refused  string           `json:"refused,omitempty"`
	Trials   int              `json:"trials"`
	Failed   int              `json:"failed_first"`
	Low      float64          `json:"low"` // of the failed share, 95 %
	High     float64          `json:"high"`
	Expected float64          `json:"predicted"`
	Opened   int              `json:"opened"`
	MedianS  float64          `json:"median_s"`
	P95S     float64          `json:"p95_s"`
	Stolen   float64          `json:"stolen"`
	Dropped  uint64           `json:"kernel_drops"`
}

// MarshalJSON returns the point with the interval of its share.
func (p Point) MarshalJSON() ([]byte, error) {
	_, low, high := p.Share()
	round := func(f float64) float64 { return math.Round(f*1e4) / 1e4 }
	return json.Marshal(jsonPoint{
		Curve: p.Curve, Scheme: p.Scheme, Restart: p.Restart, DelayMS: float64(p.Delay) / float64(time.Millisecond),
		Line: p.Line, Network: p.Network, Refused: p.Refused, Trials: p.Trials, Failed: p.Failed,
		Low: round(low), High: round(high), Expected: round(p.Expected), Opened: p.Opened,
		MedianS: p.Median.Round(time.Millisecond).Seconds(), P95S: p.P95.Round(time.Millisecond).Seconds(),
		Stolen: round(p.Stolen), Dropped: p.Dropped,
	})
}
