package bench

import "sallyport/bench/scenario"

// load is how much comes.
type load string

const (
	idle    load = "idle"             // honest knocks alone
	light   load = "light"            // less than any server's capacity
	half    load = "half of capacity" // of the shipped server, under bad magic
	highest load = "highest"          // as much as the generator has
	atTurn  load = "half, at the turn of the minute"
)

const (
	idleRate  = 200    // frames a second
	lightRate = 20_000 // frames a second
)

// nothing is the kind of flood that is none.
const nothing = "nothing"

// step is a window to be measured.
type step struct {
	kind   string // of flood
	target string
	load   load
	honest bool // whether honest knocks ride in it
}

func (s step) String() string { return s.kind + " at " + s.target + ", " + string(s.load) }

// plan is which windows a round has, on which servers: those that are compared
// several times, the others once.
type plan struct {
	servers  []string
	compared []step
	once     []step
	repeats  int
}

// The steps that ratios are made of.
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
	emptyHalf     = step{"bad-magic", refuseAllSink, half, false} // what the link itself loses
	idleRelaxed   = step{nothing, shipped, idle, true}
)

// fullPlan has what is compared next to each other.
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

// others are the kinds of flood that no ratio has had, with the filter and
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

// quickPlan asks whether everything still works, not how fast it is.
var quickPlan = plan{
	servers: []string{shipped, unfiltered, three, threeOpen},
	repeats: 1,
	compared: []step{
		idleRelaxed, sinkJunk, readJunk, sinkMAC, wholeMAC, refuseAll, filterUnknown, capacity, magic, magicOpen, magicHalf,
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
