package real

import (
	"slices"
	"time"

	"sallyport/bench/knocktime"
	"sallyport/bench/knocktime/line"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// Plan is the points that one configuration of the server has.
type Plan struct {
	curve     Curve
	encoding  challenge.Encoding
	algorithm exchange.Algorithm
	places    []place
}

// place is a line, with a network behind it.
type place struct {
	name  string
	line  line.Line
	model line.Model
}

func on(name string, l line.Line, models ...line.Model) (all []place) {
	for _, m := range models {
		all = append(all, place{name, l, m})
	}
	return all
}

const (
	fastName = "fast"
	slowName = "slow"
)

// seed is the seed of all lines; each point adds its number.
const seed = 20051999

// The values along the curves.
var (
	restartLengths = []int{3, 4, 5, 8, 10, 20, 0}
	delayLengths   = []time.Duration{
		0, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
		10 * time.Millisecond, 20 * time.Millisecond,
	}
)

// AllCurves returns the points of all curves.
func AllCurves() []Plan { return slices.Concat(restartPlans(), delayPlans(), lossPlans()) }

// Quick returns a row and two points, which show that everything works.
func Quick() ([]knocktime.Row, []Plan) {
	rows := slices.DeleteFunc(knocktime.Rows(), func(r knocktime.Row) bool { return r.Table != 1 || r.DataBits != 8 })
	e := challenge.Encoding{Scheme: challenge.Ranges, DataBits: 8, Restart: minRestart}
	return rows, []Plan{{Restarts, e, exchange.Mutual, on(fastName, line.Fast, line.Undisturbed, line.LongQueues)}}
}

// minRestart is the shortest restart. With it, most exchanges fail under LongQueues.
const minRestart = challenge.MinRestart

// restartPlans: footnote 5 is about Algorithm 3, whose request has a nonce, and so 30
// packets of 8 bits. The scheme "differences" restarts as the paper does: packets may
// be reordered within a block only. The scheme "sequence" reads its numbers as
// "ranges" does.
func restartPlans() (all []Plan) {
	models := on(fastName, line.Fast, line.Paxson03, line.Paxson2, line.Bennett, line.LongQueues)
	for _, s := range []challenge.Scheme{challenge.Ranges, challenge.Differences} {
		for _, k := range restartLengths {
			e := challenge.Encoding{Scheme: s, DataBits: 8, Restart: k}
			all = append(all, Plan{Restarts, e, exchange.Mutual, models})
		}
	}
	return all
}

func delayPlans() (all []Plan) {
	models := slices.Concat(on(fastName, line.Fast, line.Paxson2, line.Bennett, line.Jitter),
		on(slowName, line.Slow, line.Paxson2, line.Jitter))
	for _, d := range delayLengths {
		e := challenge.Encoding{Scheme: challenge.Delays, DataBits: 8, Delay: d}
		all = append(all, Plan{Delays, e, exchange.NATAware, models})
	}
	return all
}

func lossPlans() (all []Plan) {
	models := on(fastName, line.Fast, line.Undisturbed, line.Loss27, line.Loss52, line.Duplicates, line.Paxson1994, line.BennettLoss)
	for _, e := range []challenge.Encoding{
		{Scheme: challenge.Sequence, DataBits: 8, SequenceBits: 5},
		{Scheme: challenge.Differences, DataBits: 8},
		{Scheme: challenge.Ranges, DataBits: 8},
		{Scheme: challenge.Delays, DataBits: 8, Delay: 5 * time.Millisecond},
	} {
		all = append(all, Plan{Losses, e, exchange.NATAware, models})
	}
	return all
}

// networkOrder returns the position at which the points of a model are printed.
func networkOrder(name string) int {
	for i, m := range []line.Model{
		line.Undisturbed, line.Paxson03, line.Paxson2, line.Bennett, line.LongQueues, line.Jitter,
		line.Loss27, line.Loss52, line.Duplicates, line.Paxson1994, line.BennettLoss,
	} {
		if m.Name == name {
			return i
		}
	}
	return -1
}
