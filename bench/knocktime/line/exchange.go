package line

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"sallyport/verify/challenge"
)

// KnockBytes is the size of a knock: the headers of IPv4 and UDP.
const KnockBytes = 20 + 8

// Exchange is what a prediction has to know of an exchange by knocks.
type Exchange struct {
	Scheme            challenge.Scheme
	DataBits          int
	Restart           int // 0: none
	Delay             time.Duration
	Request, Response int // packets
	// Repeat is how long after the response the client sends it again, if the
	// service has not opened. 0: it does not.
	Repeat time.Duration
}

// Predict returns the share of exchanges that fail, of a number of random ones. The
// client makes each exchange once.
func (e Exchange) Predict(l Line, m Model, exchanges int, seed uint64) float64 {
	failed := 0
	data := rand.New(rand.NewPCG(seed, 1))
	for i := range exchanges {
		up := NewPath(l, m, seed, uint64(2*i+2))
		down := NewPath(l, m, seed, uint64(2*i+3))
		if !e.succeeds(up, down, data) {
			failed++
		}
	}
	return float64(failed) / float64(exchanges)
}

// Time returns how long the exchange takes on an undisturbed line: from the first bit
// of the request until the last packet of the response has arrived. The delays are
// from the sending of a packet to that of the next one, as a program knows them: the
// socket does not report when the line has sent a packet.
func (e Exchange) Time(l Line) time.Duration {
	up, down := NewPath(l, Undisturbed, 0, 0), NewPath(l, Undisturbed, 0, 1)
	last := func(at time.Duration, packets int) time.Duration {
		knocks := e.knocks(up, at, packets, 0)
		return knocks[len(knocks)-1].at
	}
	_, challenge := down.Send(nil, last(0, e.Request), challengeBytes)
	return last(challenge[0], e.Response)
}

// challengeBytes is the size of Algorithm 2's challenge with its headers.
const challengeBytes = KnockBytes + 44

func (e Exchange) succeeds(up, down *Path, data *rand.Rand) bool {
	last, ok := e.message(up, 0, e.Request, 0, data)
	if !ok {
		return false
	}
	_, arrivals := down.Send(nil, last, challengeBytes)
	if len(arrivals) == 0 {
		return false
	}
	_, ok = e.message(up, slices.Min(arrivals), e.Response, e.Repeat, data)
	return ok
}

// knock is the arrival of a packet of a message.
type knock struct {
	index int
	at    time.Duration
}

// message sends a message, and returns when its last packet has arrived, and whether
// the server can read it.
func (e Exchange) message(
	p *Path, at time.Duration, packets int, repeat time.Duration, data *rand.Rand,
) (last time.Duration, ok bool) {
	read := e.reader(packets, data)
	for _, k := range e.knocks(p, at, packets, repeat) {
		switch read(k) {
		case challenge.Complete:
			return k.at, true
		case challenge.Impossible:
			return 0, false
		}
	}
	return 0, false
}

// knocks sends a message, twice if there is a time to repeat it, and returns the
// arrivals in their order.
func (e Exchange) knocks(p *Path, at time.Duration, packets int, repeat time.Duration) (knocks []knock) {
	var arrivals []time.Duration
	send := func() {
		for i := range packets {
			if i > 0 {
				at += e.Delay
			}
			_, arrivals = p.Send(arrivals[:0], at, KnockBytes)
			for _, due := range arrivals {
				knocks = append(knocks, knock{i, due})
			}
		}
	}
	send()
	if repeat > 0 {
		at += repeat
		send()
	}
	slices.SortStableFunc(knocks, func(a, b knock) int { return cmp.Compare(a.at, b.at) })
	return knocks
}

// reader returns the rule by which a server reads the packets of a message, as the
// specification has it.
func (e Exchange) reader(packets int, data *rand.Rand) func(knock) challenge.Verdict {
	restart := packets
	if e.Restart > 0 {
		restart = min(e.Restart, packets)
	}
	switch e.Scheme {
	case challenge.Delays:
		return e.inOrder(packets, data)
	case challenge.Differences:
		return inBlocks(packets, restart)
	default:
		return inWindow(packets, restart)
	}
}

// inWindow reads a packet as the one with its number among the packets around the
// first one that is missing.
func inWindow(packets, restart int) func(knock) challenge.Verdict {
	has := make([]bool, packets+1)
	missing, count := 0, 0
	return func(k knock) challenge.Verdict {
		first := min(max(missing-restart/2, 0), packets-restart)
		if k.index < first || k.index >= first+restart {
			return challenge.Impossible
		}
		if !has[k.index] {
			has[k.index] = true
			count++
		}
		for has[missing] {
			missing++
		}
		return complete(count == packets)
	}
}

// inBlocks reads the first different packets as the first block, and so on.
func inBlocks(packets, restart int) func(knock) challenge.Verdict {
	has := make([]bool, packets)
	count := 0
	return func(k knock) challenge.Verdict {
		if k.index/restart != count/restart {
			return challenge.Impossible
		}
		if !has[k.index] {
			has[k.index] = true
			count++
		}
		return complete(count == packets)
	}
}

// inOrder reads packets in the order of their arrival. Two with the same port within
// half a delay count as one.
func (e Exchange) inOrder(packets int, data *rand.Rand) func(knock) challenge.Verdict {
	ports := make([]int, packets)
	for i := range ports {
		ports[i] = data.IntN(1 << e.DataBits)
	}
	count := 0
	var last knock
	return func(k knock) challenge.Verdict {
		if count > 0 && ports[k.index] == ports[last.index] && k.at-last.at < e.Delay/2 {
			return challenge.Incomplete
		}
		if ports[k.index] != ports[count] {
			return challenge.Impossible
		}
		last = k
		count++
		return complete(count == packets)
	}
}

func complete(yes bool) challenge.Verdict {
	if yes {
		return challenge.Complete
	}
	return challenge.Incomplete
}
