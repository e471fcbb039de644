package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// Version is the version of the format of result.json.
const Version = 1

// Result is the result of a run: the content of result.json.
type Result struct {
	Version    int        `json:"version"`
	Time       time.Time  `json:"time"`
	Command    string     `json:"command"`
	Machine    Machine    `json:"machine"`
	Conditions Conditions `json:"conditions"`
	// Ratios compare two windows of the same round; the variable Ratios lists them.
	Ratios    map[string]Spread `json:"ratios"`
	LatencyMS map[string]Spread `json:"latency_ms"`
	Curves    []Curve           `json:"curves"`
	Rows      []Row             `json:"rows"`
	Memory    []Series          `json:"memory"`
	Openings  []Opening         `json:"openings"`
	// Omitted are the parts that this host could not measure, each with the reason.
	Omitted []string `json:"omitted,omitempty"`
	// Failures are errors that no load and no speed excuses.
	Failures []string `json:"failures"`
}

// The configurations of the server, in the order of the report. A row of a reference
// has none.
const (
	Socket = "socket" // neither filter nor shield: the process refuses
	Filter = "filter" // the filter of the sockets refuses
	XDP    = "xdp"    // the shield refuses at the driver, and hands over by rings
)

// Curve is the survival of honest knocks by the rate of a flood, for one configuration
// and one kind of flood.
type Curve struct {
	Configuration string       `json:"configuration"`
	Scenario      string       `json:"scenario"` // Row.Scenario
	Title         string       `json:"title"`    // of the scenario
	Points        []CurvePoint `json:"points"`   // by ascending Planned
}

// CurvePoint is a point of a Curve. Planned is the rate in packets a second that the
// plan names; Offered is what the generator reached.
type CurvePoint struct {
	Planned  float64 `json:"planned_pps"`
	Offered  Spread  `json:"offered_pps"`
	Survival Spread  `json:"survival_50ms"` // share of honest knocks, 0 to 1
}

// Machine is the machine on which the run measured.
type Machine struct {
	Processor string `json:"processor"`
	Kernel    string `json:"kernel"`
	Cores     int    `json:"cores"`
}

// Conditions are the conditions of the measurement.
type Conditions struct {
	Generator     string  `json:"generator"`
	ReceivePaidBy string  `json:"receive_paid_by"`
	Rounds        int     `json:"rounds"`
	WindowSeconds float64 `json:"window_seconds"`
	Windows       int     `json:"windows"`
	ThrownAway    int     `json:"windows_thrown_away"` // discarded, because of more than MaxSteal
	Quick         bool    `json:"quick"`
}

// MaxSteal is the largest share of a core's time that other machines may take
// (steal time) in a window that is kept.
const MaxSteal = 0.12

// Spread is a figure over several rounds.
type Spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Kept   int       `json:"runs_kept"`
	Runs   []float64 `json:"runs"`
}

// SpreadOf summarises the runs that are numbers.
func SpreadOf(runs []float64) (s Spread) {
	s.Runs = []float64{}
	for _, r := range runs {
		if !math.IsNaN(r) && !math.IsInf(r, 0) {
			s.Runs = append(s.Runs, r)
		}
	}
	s.Kept = len(s.Runs)
	if s.Kept == 0 {
		return s
	}
	sorted := slices.Sorted(slices.Values(s.Runs))
	s.Min, s.Max = sorted[0], sorted[len(sorted)-1]
	s.Median = (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	return s
}

// Row is the result of one scenario at one target, over all rounds.
type Row struct {
	Scenario string `json:"scenario"`
	Title    string `json:"title"`
	Target   string `json:"target"`
	Load     string `json:"load"`
	// Unfiltered means that the target is a server without the kernel's filter.
	Unfiltered bool `json:"unfiltered"`
	// Configuration is that of the server; "" for a reference.
	Configuration string `json:"configuration,omitempty"`
	Kept          int    `json:"runs_kept"`
	// Packets a second: offered to the host, received from the link, and received
	// by the program.
	Offered  Spread `json:"offered_pps"`
	Arrived  Spread `json:"arrived_pps"`
	Received Spread `json:"received_pps"`
	// Honest knocks that had their effect, as shares of the number sent.
	Honest   int        `json:"honest_knocks"`
	InTime   *Spread    `json:"survival_50ms,omitempty"`
	Survival *Spread    `json:"survival,omitempty"`
	Latency  *Quantiles `json:"last_knock_to_open_ms,omitempty"`
	// Asked is how many requests the admin socket answered meanwhile, in the times of Answers.
	Asked   int        `json:"admin_requests,omitempty"`
	Answers *Quantiles `json:"admin_answers_ms,omitempty"`
	// Processor time for each packet that arrived, in nanoseconds.
	ServerNS  Spread            `json:"server_ns_per_packet"`
	ReceiveNS Spread            `json:"receive_ns_per_packet"`
	Resident  uint64            `json:"resident_bytes_max"`
	LogLines  Spread            `json:"log_lines_per_second"`
	Counters  map[string]uint64 `json:"counters,omitempty"` // sums over the windows
	Sums      bool              `json:"counters_add_up"`
}

// Quantiles of the time from a sequence's last knock to its effect, in
// milliseconds, over all windows.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Opening is the time from the grant of a service until it is open.
type Opening struct {
	Type      string    `json:"type"`
	Times     int       `json:"times"`
	Quantiles Quantiles `json:"decision_to_open_ms"`
}

// Series is a target's resident memory over the run.
type Series struct {
	Target  string    `json:"target"`
	Seconds []float64 `json:"seconds"`
	Bytes   []float64 `json:"bytes"`
}

// Read reads a result.json.
func Read(r io.Reader) (res Result, err error) {
	if err := json.NewDecoder(r).Decode(&res); err != nil {
		return res, fmt.Errorf("not a result of floodbench: %w", err)
	}
	switch {
	case res.Version == 0:
		return res, errors.New("not a result of floodbench: it has no version")
	case res.Version != Version:
		return res, fmt.Errorf("got version %d, expected %d", res.Version, Version)
	}
	return res, nil
}

// Write writes a result.json.
func (res Result) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(res)
}
