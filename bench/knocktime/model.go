package knocktime

import (
	"math/bits"
	"time"

	"sallyport/verify/challenge"
)

// The assumptions of the paper (section 6.3.1).
const (
	bitsPerSecond = 64_000
	roundTrip     = 100 * time.Millisecond

	headerBytes    = 20 + 8            // IPv4 and UDP: a whole knock
	requestBytes   = 10 + 4            // an operation's ID and the client's address
	challengeBytes = 4 + 20 + 20       // the address seen, a MAC, a nonce
	responseBytes  = 20                // a MAC
	ways           = 3 * roundTrip / 2 // request, challenge, response
)

// transmission returns the time in which the line sends the bits of a packet.
func transmission(bytes int) time.Duration {
	return time.Duration(bytes) * 8 * time.Second / bitsPerSecond
}

var (
	knockTime     = transmission(headerBytes)
	challengeTime = transmission(headerBytes + challengeBytes)
)

// Row is a row of the paper's tables. A line of Table 3 has two rows, one for each
// delay.
type Row struct {
	Table    int
	DataBits int
	Delay    time.Duration // after each packet of a message except the last one
	Paper    Figures
}

// Figures are the figures of a row.
type Figures struct {
	SequenceBits int // in Table 1
	Range        int // of ports
	Time         time.Duration
}

// packets returns the number of knocks of request and response.
func (r Row) packets() (request, response int) {
	of := func(bytes int) int { return (8*bytes + r.DataBits - 1) / r.DataBits }
	return of(requestBytes), of(responseBytes)
}

// takes returns the time of an exchange with a number of knocks, in two messages.
func (r Row) takes(knocks int) time.Duration {
	return time.Duration(knocks)*knockTime + challengeTime + ways + time.Duration(knocks-2)*r.Delay
}

// Model returns the figures of the row by the paper's assumptions. The time is
// exact.
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

// millisecond rounds to milliseconds, half up, as the paper does.
func millisecond(d time.Duration) time.Duration {
	return (d + time.Millisecond/2) / time.Millisecond * time.Millisecond
}

// firstPort is the base of an encoding, above the system ports, if the range fits
// above it.
const firstPort = 1024

// Encodings returns the encodings of the row. Table 2 has two.
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
