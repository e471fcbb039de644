package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"sallyport/bench/report"
)

// Spread is the median of times and their 99th percentile, in milliseconds.
type Spread struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

func spreadOf(times []time.Duration) *Spread {
	if len(times) == 0 {
		return nil
	}
	all := slices.Sorted(slices.Values(times))
	return &Spread{millis(all[len(all)/2]), millis(all[len(all)*99/100])}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Setup is what is measured.
type Setup struct {
	Gateways int  `json:"gateways"` // with as many members; 0: a server without a fleet
	Clients  int  `json:"clients"`
	Records  int  `json:"records"`    // how many of them have one in etcd at the start
	All      bool `json:"spread_all"` // the service opens at all gateways
	// Trip is the round trip that the links to etcd add, in milliseconds.
	Trip float64 `json:"round_trip_ms"`
}

func (s Setup) String() string {
	text := "no fleet"
	switch {
	case s.Gateways == 1:
		text = "one gateway"
	case s.Gateways > 1:
		text = fmt.Sprintf("%d gateways", s.Gateways)
	}
	if s.All {
		text += `, spread = "all"`
	}
	if s.Trip > 0 {
		text += fmt.Sprintf(", %g ms", s.Trip)
	}
	return text + fmt.Sprintf(", %d clients", s.Clients)
}

// compare orders setups as in the tables.
func (s Setup) compare(other Setup) int {
	shared := map[bool]int{true: 1}
	return cmp.Or(
		cmp.Compare(s.Gateways, other.Gateways), cmp.Compare(s.Clients, other.Clients), cmp.Compare(s.Trip, other.Trip),
		shared[s.All]-shared[other.All],
	)
}

// Opening is the time of attempts that come one after the other.
type Opening struct {
	Setup
	Tries  int `json:"tries"`
	Opened int `json:"opened"` // wherever they had to
	// Here is from the last knock until the gateway that received it has opened, Rest until
	// all others have.
	Here *Spread `json:"here,omitempty"`
	Rest *Spread `json:"others,omitempty"`
	// Write is a write of one key in etcd.
	Write *Spread `json:"write,omitempty"`
	// Cost is what the gateways cost the members for each attempt, without what idle ones do.
	Cost Cost `json:"etcd_per_attempt"`
	Noise
}

// Noise is what kept the cores from the programs under test.
type Noise struct {
	Stolen float64 `json:"stolen"`         // the largest share of a core that other machines took
	Others float64 `json:"other_programs"` // the share of all cores that other programs took
}

// loud reports whether losses and times may be those of the noise.
func (n Noise) loud() bool { return max(n.Stolen, n.Others) > report.MaxSteal }

func (n Noise) String() string { return fmt.Sprintf("%.0f %%", 100*max(n.Stolen, n.Others)) }

// Load is attempts of many clients.
type Load struct {
	Setup
	Grants float64 `json:"grants_per_s"`
	Failed float64 `json:"failed_per_s"` // attempts that were refused
	// Carried is how many grants of others the gateways carried out.
	Carried float64 `json:"others_per_s"`
	// The rest is for each grant.
	Gateway float64 `json:"gateway_us"` // processor time of all gateways
	Members float64 `json:"etcd_us"`    // of all members
	Cost    Cost    `json:"etcd_per_grant"`
	Noise
}

// Cost is what the members of etcd do.
type Cost struct {
	Transactions float64 `json:"transactions"` // requests
	Reads        float64 `json:"reads"`        // requests
	Leases       float64 `json:"leases"`       // made
	Renewals     float64 `json:"renewals"`
	Writes       float64 `json:"writes"` // of keys
	Events       float64 `json:"events"` // to all gateways
	Sent         float64 `json:"sent_bytes"`
	Received     float64 `json:"received_bytes"`
}

// requests returns how many requests are sent. Renewals have no part in grants.
func (c Cost) requests() float64 { return c.Transactions + c.Reads + c.Leases }

// Start is the start of a server.
type Start struct {
	Setup
	Ready float64 `json:"ready_s"`          // from the start of the process until it serves
	View  float64 `json:"view_s,omitempty"` // until it has all records of etcd
	MiB   float64 `json:"resident_mib"`     // then
	// The rest is of etcd: what the gateway read until then, the memory of a member, and the
	// size of its database.
	Requests float64 `json:"requests,omitempty"`
	Read     float64 `json:"read_mb,omitempty"`
	Member   float64 `json:"etcd_mib,omitempty"`
	Database float64 `json:"database_mib,omitempty"`
}

// Result is all measurements.
type Result struct {
	Quick    bool      `json:"quick"` // times cannot fail
	Openings []Opening `json:"openings"`
	Loads    []Load    `json:"loads"`
	Idle     *Cost     `json:"idle_per_gateway_and_s,omitempty"`
	Starts   []Start   `json:"starts,omitempty"`
}

// The goals, and the limits of a run.
const (
	goalWrites = 2   // of the time of a write in etcd
	goalRest   = 1.0 // milliseconds
	// goalMillion is how much longer a grant may take with a million clients, in
	// milliseconds.
	goalMillion = 0.3
	// mostRequests is how many requests an attempt may have beyond those that expected
	// returns, on average: leases of etcd. In addition, so many requests of each gateway may
	// fall into the time of a row, or not: a lease, and what idle gateways send.
	mostRequests  = 0.2
	strayRequests = 4
)

// goal returns the time in which half of the attempts must open; 0: there is none.
func (o Opening) goal() float64 {
	if o.Write == nil {
		return 0
	}
	return goalWrites*o.Write.P50 + goalRest
}

// expected returns the requests of an attempt: one records it, and one sends the grant to
// the others.
func (o Opening) expected() float64 {
	switch {
	case o.Gateways == 0:
		return 0
	case o.All:
		return 2
	}
	return 1
}

// missed returns the goals that the times do not reach.
func (r Result) missed(o Opening) (all []string) {
	if goal := o.goal(); goal > 0 && o.Here != nil && o.Here.P50 > goal {
		all = append(all, fmt.Sprintf("p50 %.2f ms, expected at most %.2f", o.Here.P50, goal))
	}
	if few := r.withFewer(o); few != nil && o.Here != nil && o.Here.P50 > few.P50+goalMillion {
		all = append(all, fmt.Sprintf("p50 %.2f ms, expected at most %.2f, as with fewer clients", o.Here.P50, few.P50+goalMillion))
	}
	return all
}

// withFewer returns the times of the same setup with fewer clients, if it was measured.
func (r Result) withFewer(o Opening) *Spread {
	for _, other := range r.Openings {
		if other.Gateways == o.Gateways && other.All == o.All && other.Trip == o.Trip && other.Clients < o.Clients {
			return other.Here
		}
	}
	return nil
}

// Failures returns the goals and limits that the result does not reach. Rows with too much
// noise do not fail by losses and times.
func (r Result) Failures() (all []string) {
	for _, o := range r.Openings {
		var why []string
		if !o.loud() && o.Opened < o.Tries {
			why = append(why, fmt.Sprintf("%d of %d attempts opened", o.Opened, o.Tries))
		}
		if n := o.Cost.requests(); n > o.expected()+mostRequests+strayRequests*float64(o.Gateways)/float64(o.Tries) {
			why = append(why, fmt.Sprintf("%.2f requests to etcd for an attempt, expected %g", n, o.expected()))
		}
		if !r.Quick && !o.loud() {
			why = append(why, r.missed(o)...)
		}
		for _, text := range why {
			all = append(all, o.Setup.String()+": "+text)
		}
	}
	for _, l := range r.Loads {
		if l.Grants == 0 {
			all = append(all, l.Setup.String()+": no grants under load")
		}
	}
	return all
}
