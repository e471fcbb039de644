package presence

import (
	"fmt"
	"time"
)

// MaxSkew is how far the clocks of two gateways may differ: above that, a gateway logs it.
const MaxSkew = 2 * time.Second

// Seen is what is known of another gateway.
type Seen struct {
	Name string
	Info
	Err error // of a value that this release cannot read; then there is no Info
	// Ahead is how far its clock is ahead of this one's, if it is Measured.
	Ahead    time.Duration
	Measured bool
}

// Difference is what differs between two gateways.
type Difference struct {
	Gateway     string // the other one
	What        string // "release", "clock", "value", or the name of a part
	Here, There string
}

// Compare returns what differs between a gateway and another one.
func Compare(own Info, other Seen) (list []Difference) {
	add := func(what, here, there string) {
		if here != there {
			list = append(list, Difference{other.Name, what, here, there})
		}
	}
	if other.Err != nil {
		add("value", firstLine, other.Err.Error())
		return list
	}
	add("release", own.Release, other.Release)
	if other.Measured && (other.Ahead > MaxSkew+other.Took || other.Ahead < -MaxSkew-other.Took) {
		add("clock", "0s", other.Ahead.Round(100*time.Millisecond).String())
	}
	theirs := make(map[string]uint64, len(other.Parts))
	for _, p := range other.Parts {
		theirs[p.Name] = p.Digest
	}
	for _, p := range own.Parts {
		there := "none"
		if d, ok := theirs[p.Name]; ok {
			there = fmt.Sprintf("%016x", d)
		}
		add(p.Name, fmt.Sprintf("%016x", p.Digest), there)
	}
	return list
}
