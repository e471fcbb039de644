package line

import (
	"time"

	"sallyport/verify/challenge"
)

// Slow is the line of the paper's tables (section 6.3.1).
var Slow = Line{BitsPerSecond: 64_000, OneWay: 50 * time.Millisecond}

// Fast is the line of the curves. It sends a knock in 0.224 ms, which is the distance
// of the knocks where the network reorders them.
var Fast = Line{BitsPerSecond: 1_000_000, OneWay: 5 * time.Millisecond}

// Undisturbed changes nothing.
var Undisturbed = Model{Name: "none"}

// The models of reordering. TestModels holds them to the figures of the papers, on
// the fast line.
var (
	// Paxson03 and Paxson2 have the shares of reordered packets of both of Paxson's
	// series: 0.3 % (1995) and 2 % (1994).
	Paxson03 = Model{Name: "Paxson, 0.3 % reordered", Late: 0.0035, LateBy: 2 * time.Millisecond}
	Paxson2  = Model{Name: "Paxson, 2 % reordered", Late: 0.023, LateBy: 2 * time.Millisecond}
	// Bennett has two parallel links, which reorder more than 90 % of the bursts of 20
	// packets, as the paper cites.
	Bennett = Model{Name: "Bennett, two links", Links: 2, Wait: 250 * time.Microsecond}
	// LongQueues is Bennett with queues that are four times as long.
	LongQueues = Model{Name: "the same, queues × 4", Links: 2, Wait: time.Millisecond}
	// Jitter delays each packet by a separate time.
	Jitter = Model{Name: "jitter, mean 1 ms", Late: 1, LateBy: time.Millisecond}
)

// The models of loss and duplicates. The losses are those of both of Paxson's series.
// Duplicates were rare there; a share of 1 % is more than that.
var (
	Loss27     = Model{Name: "loss 2.7 %", Loss: 0.027}
	Loss52     = Model{Name: "loss 5.2 %", Loss: 0.052}
	Duplicates = Model{Name: "duplicates 1 %", Duplicates: 0.01}
	// Paxson1994 has all that Paxson observed in the first series.
	Paxson1994 = Model{
		Name: "2 % reordered, loss 2.7 %, duplicates 1 %",
		Late: Paxson2.Late, LateBy: Paxson2.LateBy, Loss: Loss27.Loss, Duplicates: Duplicates.Duplicates,
	}
	BennettLoss = Model{
		Name:  "two links, loss 5.2 %, duplicates 1 %",
		Links: Bennett.Links, Wait: Bennett.Wait, Loss: Loss52.Loss, Duplicates: Duplicates.Duplicates,
	}
)

// NewExchange returns what a prediction has to know of an exchange by an encoding for
// both messages, whose sizes are in bytes.
func NewExchange(e challenge.Encoding, request, response int) Exchange {
	packets := func(bytes int) int { return (8*bytes + e.DataBits - 1) / e.DataBits }
	x := Exchange{
		Scheme: e.Scheme, DataBits: e.DataBits, Restart: e.Restart, Delay: e.Delay,
		Request: packets(request), Response: packets(response),
	}
	if e.Scheme == challenge.Sequence || e.Scheme == challenge.Ranges {
		x.Repeat = repeat
	}
	return x
}

// repeat is about when the client sends a response again, by the schemes that can read
// duplicates in any order.
const repeat = 320 * time.Millisecond
