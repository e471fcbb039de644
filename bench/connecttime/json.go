package connecttime

import (
	"encoding/json"
	"time"
)

// spread is a column of a row in JSON, in milliseconds.
type spread struct {
	Median float64 `json:"median_ms"`
	P99    float64 `json:"p99_ms"`
	// Above a plain connection, without round_trips:
	MedianAbove *float64 `json:"median_above_ms,omitempty"`
	P99Above    *float64 `json:"p99_above_ms,omitempty"`
	// Ratio is the median ÷ that of plain connections.
	Ratio *float64 `json:"ratio,omitempty"`
}

func millis(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

func (r Row) spread(t Times) spread {
	above, high := millis(r.Above(t.Median())), millis(r.Above(t.P99()))
	ratio := float64(t.Median()) / float64(max(r.Plain.Median(), 1))
	return spread{millis(t.Median()), millis(t.P99()), &above, &high, &ratio}
}

// MarshalJSON implements json.Marshaler. Later versions may add fields.
func (r Result) MarshalJSON() ([]byte, error) {
	type row struct {
		Link       string   `json:"link"`
		Server     string   `json:"server"`
		Service    string   `json:"service"`
		RoundTrips int      `json:"round_trips"`   // which the client may need more
		RoundTrip  float64  `json:"round_trip_ms"` // of the link
		Tries      int      `json:"tries"`
		Plain      spread   `json:"plain"`
		Knock      spread   `json:"last_knock"`
		Process    spread   `json:"process"`
		Missed     []string `json:"missed,omitempty"`
	}
	rows := make([]row, len(r.Rows))
	for i, from := range r.Rows {
		rows[i] = row{
			from.Link, from.Server, from.Service, from.RoundTrips, millis(from.RoundTrip), len(from.Plain),
			spread{Median: millis(from.Plain.Median()), P99: millis(from.Plain.P99())},
			from.spread(from.Knock), from.spread(from.Process), from.missed(),
		}
	}
	return json.Marshal(struct {
		Rows []row `json:"rows"`
	}{rows})
}
