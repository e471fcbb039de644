package knocktime

import (
	"math/bits"
	"time"

	"sallyport/verify/challenge"
)

// What the paper assumes (section 6.3.1).
const (
	bitsPerSecond = 64_000
	roundTrip     = 100 * time.Millisecond

	headerBytes    = 20 + 8            // IPv4 and UDP; a knock has nothing else
	requestBytes   = 10 + 4            // an operation's ID and the client's address
	challengeBytes = 4 + 20 + 20       // the address seen, a MAC, a nonce
	responseBytes  = 20                // a MAC
	ways           = 3 * roundTrip / 2 // there, back, and there
)

// transmission is how long the line takes for the bits of a packet.
func transmission(bytes int) time.Duration {
	return time.Duration(bytes) * 8 * time.Second / bitsPerSecond
}

var (
	knockTime     = transmission(headerBytes)
	challengeTime = transmission(headerBytes + challengeBytes)
)

// Row is a row of the paper's tables; Table 3 has two to a line, one a delay.
type Row struct {
	Table    int
	DataBits int
	Delay    time.Duration // after each packet of a message but the last
	Paper    Figures
}

// Figures are what a table tells of a row.
type Figures struct {
	SequenceBits int // in Table 1
	Range        int // of ports
	Time         time.Duration
}

// packets is how many knocks request and response take.
func (r Row) packets() (request, response int) {
	of := func(bytes int) int { return (8*bytes + r.DataBits - 1) / r.DataBits }
	return of(requestBytes), of(responseBytes)
}

// takes is how long an exchange of so many knocks takes, in two messages.
func (r Row) takes(knocks int) time.Duration {
	return time.Duration(knocks)*knockTime + challengeTime + ways + time.Duration(knocks-2)*r.Delay
}

// Model is the row by the paper's own assumptions. Its time is exact.
func (r Row) Model() (f Figures) {
	request, response := r.packets()
	f.Time = r.takes(request + response)
	f.Range = 1 << r.DataBits
	switch r.Table {
	case 1:
		f.SequenceBits = bits.Len(uint(response - 1))
		f.Range <<= f.SequenceBits
	case 2:
		f.Range *= response
	}
	return f
}

// millisecond rounds to that, half up, as the paper does.
func millisecond(d time.Duration) time.Duration {
	return (d + time.Millisecond/2) / time.Millisecond * time.Millisecond
}

// firstPort is above the system's ports, where the range leaves it that room.
const firstPort = 1024

// Encodings are those whose figures the row has: Table 2 is of two.
func (r Row) Encodings() []challenge.Encoding {
	f := r.Model()
	e := challenge.Encoding{DataBits: r.DataBits, SequenceBits: f.SequenceBits, Delay: r.Delay}
	if firstPort+f.Range <= 1<<16 {
		e.Base = firstPort
	}
	var schemes []challenge.Scheme
	switch r.Table {
	case 1:
		schemes = []challenge.Scheme{challenge.Sequence}
	case 2:
		schemes = []challenge.Scheme{challenge.Differences, challenge.Ranges}
	case 3:
		schemes = []challenge.Scheme{challenge.Delays}
	}
	all := make([]challenge.Encoding, 0, len(schemes))
	for _, s := range schemes {
		e.Scheme = s
		all = append(all, e)
	}
	return all
}
