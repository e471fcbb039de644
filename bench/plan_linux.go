package bench

import (
	"slices"

	"sallyport/bench/scenario"
)

// load is the rate of a flood.
type load string

const (
	idle        load = "idle"             // only honest knocks
	light       load = "light"            // below the capacity of every server
	half        load = "half of capacity" // of the shipped server, under bad magic
	oneMillion  load = "1 M/s"
	twoMillion  load = "2 M/s" // more than a core can verify, and less than a generator sends
	fiveMillion load = "5 M/s"
	highest     load = "highest"        // the maximum of the generator
	asked       load = "highest, asked" // and the admin socket is asked meanwhile
	atTurn      load = "half, at the turn of the minute"
	fullAtTurn  load = "5 M/s, at the turn of the minute"
)

// rates are the loads of a fixed number of frames a second. The others depend on the
// generator and on the capacity.
var rates = map[load]float64{
	idle: 200, light: 20_000, "0.1 M/s": 1e5, "0.3 M/s": 3e5, oneMillion: 1e6, twoMillion: 2e6, "3 M/s": 3e6, fiveMillion: 5e6,
}

// curveLoads are the points of a survival curve, by ascending rate. The last one is
// planned as ten million frames a second: more than one core can send here.
var curveLoads = []load{"0.1 M/s", "0.3 M/s", oneMillion, "3 M/s", highest}

func planned(l load) float64 {
	if l == highest {
		return 10e6
	}
	return rates[l]
}

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

// turns reports whether the window is at the turn of a minute.
func (s step) turns() bool { return s.load == atTurn || s.load == fullAtTurn }

// plan lists the windows of a round, and their servers. Compared windows are
// measured several times, the others once.
type plan struct {
	servers  []string
	compared []step
	once     []step
	// turns are measured once a round, at the turn of a minute that comes anyway.
	turns   []step
	repeats int
}

// The steps that the ratios of the socket and its filter compare.
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

// The steps that the shield's ratios compare.
var (
	dropMagic      = step{"bad-magic", dropAllSink, highest, false}
	dropUnknown    = step{"unknown", dropAllSink, highest, false}
	shieldCapacity = step{"bad-magic", shielded, highest, false}
	shieldUnknown  = step{"unknown", shieldedMillion, highest, false}
	ringRead       = step{"sniffed", ringSink, highest, false}
	ringVerified   = step{"sniffed", sharesOff, highest, false}
	shieldMagic    = step{"bad-magic", shielded, fiveMillion, true}
	plainMagic     = step{"bad-magic", unfiltered, fiveMillion, true}
	ringMillion    = step{"sniffed", sharesOff, oneMillion, true}
	shieldNamed    = step{"named", shielded, highest, true}
	shieldJunk     = step{"junk", shielded, highest, true}
	ownShares      = step{"named-alone", shielded, twoMillion, true}
	ownNoShares    = step{"named-alone", sharesOff, twoMillion, true}
	ownNetwork     = step{"named-one-network", shielded, twoMillion, true}
	idleShield     = step{nothing, shielded, idle, true}
	turnShield     = step{"bad-magic", shielded, fullAtTurn, true}
)

// compared has compared steps next to each other.
var compared = []step{
	sinkJunk, readJunk,
	ringRead, sinkMAC, wholeMAC, millionMAC,
	refuseAll, filterUnknown,
	dropMagic, shieldCapacity, shieldMagic, shieldJunk, shieldNamed, idleShield, ownNetwork, ownShares,
	ownNoShares, ringVerified, ringMillion,
	plainMagic, capacity, magic, magicOpen, magicHalf, emptyHalf, idleRelaxed,
}

var fullPlan = plan{
	servers:  []string{shipped, unfiltered, three, threeOpen, twoReaders, strict, manyClients},
	repeats:  2,
	compared: compared,
	once: onceOf(compared, []step{
		{nothing, strict, idle, true},
		{"one-client", twoReaders, half, true},
		dropUnknown, shieldUnknown, {"bad-mac", shieldedMillion, highest, true},
		{"bad-magic", shieldedNAT, highest, true},
	}, others(), curvePoints(), askedSteps()),
	turns: []step{{"bad-magic", shipped, atTurn, true}, turnShield},
}

// others returns all kinds of flood: with the filter, without it, and with the shield.
func others() (steps []step) {
	for _, k := range scenario.All {
		on, off := shipped, unfiltered
		if k.Ports == 3 {
			on, off = three, threeOpen
		}
		if k.Alone {
			continue // for the shield alone; see compared
		}
		steps = append(steps, step{k.Name, on, highest, true}, step{k.Name, off, highest, true})
	}
	for _, k := range scenario.All {
		if k.Ports != 3 && !k.Alone {
			steps = append(steps, step{k.Name, shielded, highest, true})
		}
	}
	return steps
}

// curvePoints returns the windows of the survival curves.
func curvePoints() (steps []step) {
	for _, c := range curvesOf {
		for _, l := range curveLoads {
			steps = append(steps, c.at(l))
		}
	}
	return steps
}

// onceOf returns the steps of the lists that are not compared, each once.
func onceOf(compared []step, lists ...[]step) []step {
	return concat(append([][]step{compared}, lists...)...)[len(compared):]
}

func concat(lists ...[]step) (steps []step) {
	seen := map[step]bool{}
	for _, list := range lists {
		for _, s := range list {
			if !seen[s] {
				steps, seen[s] = append(steps, s), true
			}
		}
	}
	return steps
}

// shieldTargets are the targets with a program at the driver. Only one of them can run
// at a time, and no other target may run meanwhile: the program sees its frames too.
var shieldTargets = map[string]bool{
	shielded: true, sharesOff: true, shieldedMillion: true, shieldedNAT: true, ringSink: true, dropAllSink: true,
}

// without returns the plan without the shield's targets.
func (p plan) without() plan {
	open := func(steps []step) []step {
		return slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return shieldTargets[s.target] })
	}
	p.compared, p.once, p.turns = open(p.compared), open(p.once), open(p.turns)
	return p
}
