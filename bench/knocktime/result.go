package knocktime

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// tolerance is the maximum difference of a measured row from the model, in per
// cent.
const tolerance = 10

// Result is a row and its measured time; 0: it was not measured.
type Result struct {
	Row
	Measured time.Duration
}

// Results returns the rows with their measured times. If measured is nil, they
// have only the model.
func Results(measured []time.Duration) []Result {
	rows := Rows()
	all := make([]Result, len(rows))
	for i, r := range rows {
		all[i].Row = r
		if i < len(measured) {
			all[i].Measured = measured[i]
		}
	}
	return all
}

// Off reports whether the measured time differs too much from the model.
func (r Result) Off() bool { return r.Measured != 0 && r.off(r.Measured) }

func (r Row) off(measured time.Duration) bool {
	model := r.Model().Time
	return (measured-model).Abs()*100 > model*tolerance
}

// difference returns the difference of the measured time from the model's, as a
// share of the latter.
func (r Result) difference() float64 {
	model := r.Model().Time
	return float64(r.Measured-model) / float64(model)
}

func (r Row) String() string {
	s := fmt.Sprintf("Table %d, %d data bits", r.Table, r.DataBits)
	if r.Delay != 0 {
		s += ", delay " + inMS(r.Delay)
	}
	return s
}

type jsonResult struct {
	Table        int      `json:"table"`
	DataBits     int      `json:"data_bits"`
	SequenceBits int      `json:"sequence_bits"`
	DelayMS      int64    `json:"delay_ms"`
	Range        int      `json:"range"`
	PaperS       float64  `json:"paper_s"`
	ModelS       float64  `json:"model_s"` // rounded like the paper's
	MeasuredS    *float64 `json:"measured_s"`
}

// MarshalJSON returns the row by the model, and the paper's time.
func (r Result) MarshalJSON() ([]byte, error) {
	m := r.Model()
	j := jsonResult{
		Table: r.Table, DataBits: r.DataBits, SequenceBits: m.SequenceBits,
		DelayMS: r.Delay.Milliseconds(), Range: m.Range,
		PaperS: r.Paper.Time.Seconds(), ModelS: millisecond(m.Time).Seconds(),
	}
	if r.Measured != 0 {
		s := r.Measured.Round(time.Microsecond).Seconds()
		j.MeasuredS = &s
	}
	return json.Marshal(j)
}

// WriteJSON writes an array, with one row on each line.
func WriteJSON(w io.Writer, results []Result) error {
	for i, r := range results {
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("write %s as JSON: %w", r, err)
		}
		before, after := ",\n ", ""
		if i == 0 {
			before = "["
		}
		if i == len(results)-1 {
			after = "]\n"
		}
		if _, err := fmt.Fprintf(w, "%s%s%s", before, line, after); err != nil {
			return err
		}
	}
	return nil
}
