package bench

import "sallyport/bench/scenario"

// load is the rate of a flood.
type load string

const (
	idle    load = "idle"             // only honest knocks
	light   load = "light"            // below the capacity of every server
	half    load = "half of capacity" // of the shipped server, under bad magic
	highest load = "highest"          // the maximum of the generator
	atTurn  load = "half, at the turn of the minute"
)

const (
	idleRate  = 200    // frames a second
	lightRate = 20_000 // frames a second
)

// nothing is the kind for no flood.
const nothing = "nothing"

// step describes a window: a kind of flood, at a target, with a load.
type step struct {
	kind   string // of flood
	target string
	load   load
	honest bool // the flood includes honest knocks
}

func (s step) String() string { return s.kind + " at " + s.target + ", " + string(s.load) }

// plan lists the windows of a round, and their servers. Compared windows are
// measured several times, the others once.
type plan struct {
	servers  []string
	compared []step
	once     []step
	repeats  int
}

// The steps that the ratios compare.
var (
	sinkJunk      = step{"junk", bareSink, highest, false}
	sinkMAC       = step{"bad-mac", bareSink, highest, false}
	refuseAll     = step{"unknown", refuseAllSink, highest, false}
	filterUnknown = step{"unknown", shipped, highest, false}
	readJunk      = step{"junk", unfiltered, highest, false}
	wholeMAC      = step{"bad-mac", shipped, highest, false}
	millionMAC    = step{"bad-mac", manyClients, highest, false}
	capacity      = step{"bad-magic", shipped, highest, false}
	magic         = step{"bad-magic", shipped, highest, true}
	magicOpen     = step{"bad-magic", unfiltered, highest, true}
	magicHalf     = step{"bad-magic", shipped, half, true}
	emptyHalf     = step{"bad-magic", refuseAllSink, half, false} // the loss of the link itself
	idleRelaxed   = step{nothing, shipped, idle, true}
)

// fullPlan has compared steps next to each other.
var fullPlan = plan{
	servers: []string{shipped, unfiltered, three, threeOpen, twoReaders, strict, manyClients},
	repeats: 3,
	compared: []step{
		sinkJunk, readJunk,
		sinkMAC, wholeMAC, millionMAC,
		refuseAll, filterUnknown,
		capacity, magic, magicOpen, magicHalf, emptyHalf, idleRelaxed,
	},
	once: append([]step{
		{nothing, strict, idle, true},
		{"one-client", twoReaders, half, true},
		{"bad-magic", shipped, atTurn, true},
	}, others()...),
}

// others returns the kinds of flood that no ratio uses, with the filter and
// without.
func others() (steps []step) {
	for _, k := range scenario.All {
		on, off := shipped, unfiltered
		if k.Ports == 3 {
			on, off = three, threeOpen
		}
		for _, s := range []step{{k.Name, on, highest, true}, {k.Name, off, highest, true}} {
			if s != magic && s != magicOpen {
				steps = append(steps, s)
			}
		}
	}
	return steps
}

// quickPlan checks that everything works. It does not measure speed.
var quickPlan = plan{
	servers: []string{shipped, unfiltered, three, threeOpen},
	repeats: 1,
	compared: []step{
		idleRelaxed, sinkJunk, readJunk, sinkMAC, wholeMAC, refuseAll, filterUnknown,
		capacity, magic, magicOpen, magicHalf,
	},
	once: lightly(),
}

func lightly() (steps []step) {
	for _, s := range append(others(), magic, magicOpen) {
		s.load = light
		steps = append(steps, s)
	}
	return steps
}
