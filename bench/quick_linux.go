package bench

// quickPlan checks that everything works. It does not measure speed.
var quickPlan = plan{
	servers:  []string{shipped, unfiltered, three, threeOpen},
	repeats:  1,
	compared: comparedQuick,
	once: onceOf(comparedQuick, lightly(), []step{
		{"bad-magic", shipped, asked, true}, {"bad-mac", unfiltered, asked, true}, {"sniffed", shielded, asked, true},
		{"bad-magic", unfiltered, oneMillion, true}, {"bad-magic", shipped, oneMillion, true}, {"bad-magic", shielded, oneMillion, true},
	}),
}

var comparedQuick = []step{
	idleRelaxed, sinkJunk, readJunk, ringRead, sinkMAC, wholeMAC, refuseAll, filterUnknown,
	dropMagic, shieldCapacity, shieldMagic, shieldJunk, shieldNamed, idleShield, ownNetwork, ownShares,
	ownNoShares, ringVerified, ringMillion,
	capacity, magic, magicOpen, plainMagic, magicHalf,
}

// lightly returns a window for each kind of flood and target, at a light load.
func lightly() (steps []step) {
	for _, s := range others() {
		s.load = light
		steps = append(steps, s)
	}
	return steps
}
