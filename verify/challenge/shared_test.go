package challenge

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestSharedBound: the bound of PROTOCOL.md on guesses, for all plans that may share
// ports, has its worst case at the numbers that are given there.
func TestSharedBound(t *testing.T) {
	const tolerated = 32 // maxForeign of package exchange
	worst, which := math.Inf(1), [2]int{}
	encodings := func() (all []Encoding) {
		for bits := 1; bits <= 16; bits++ {
			all = append(all, Encoding{Scheme: Ranges, Base: 1, DataBits: bits}, Encoding{Scheme: Differences, Base: 1, DataBits: bits},
				Encoding{Scheme: Sequence, Base: 1, DataBits: bits, SequenceBits: min(16-bits, 6)},
				Encoding{Scheme: Delays, Base: 1, DataBits: bits, Delay: time.Millisecond})
		}
		return all
	}()
	requests := map[Encoding][]*Codec{}
	for _, e := range encodings {
		for size := 5; size <= MaxMessage; size++ {
			if c, err := e.Codec(size); err == nil {
				requests[e] = append(requests[e], c)
			}
		}
	}
	for _, out := range encodings {
		responses, err := out.Codec(20)
		if err != nil {
			continue
		}
		for _, in := range encodings {
			for _, r := range requests[in] {
				if checkShared(r, responses) != nil {
					continue
				}
				n, k := responses.Packets(), min(r.Packets(), tolerated)
				if bits := 160 - 1 - log2Choose(n+k, n); bits < worst {
					worst, which = bits, [2]int{n, k}
				}
			}
		}
	}
	if math.Floor(worst) != 107 || which != [2]int{27, 28} {
		t.Errorf("the worst case is 2^-%.1f with %v packets, and the specification says 2^-107 with 27 and 28", worst, which)
	}
}

func log2Choose(n, k int) float64 {
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x + 1)); return v / math.Ln2 }
	return lg(n) - lg(k) - lg(n-k)
}

// TestExpectedHits compares the bound with random responses: it is not exceeded for
// any request, of random ones and of those whose packets all have equal data.
func TestExpectedHits(t *testing.T) {
	const rounds = 300
	for _, e := range []Encoding{
		{Scheme: Sequence, Base: 1, DataBits: 8, SequenceBits: 5}, {Scheme: Ranges, Base: 1, DataBits: 6},
		{Scheme: Ranges, Base: 1, DataBits: 8, Restart: 5}, {Scheme: Differences, Base: 1, DataBits: 7},
		{Scheme: Differences, Base: 1, DataBits: 12}, {Scheme: Differences, Base: 1, DataBits: 8, Restart: 4},
		{Scheme: Delays, Base: 1, DataBits: 10, Delay: time.Millisecond}, {Scheme: Delays, Base: 1, DataBits: 12, Delay: time.Millisecond},
	} {
		requests, responses := codec(t, e, 14), codec(t, e, 20)
		bound := expectedHits(requests, responses)
		for _, fill := range []int{0, 0xff, 0x55, -1} {
			request := make([]byte, 14)
			for i := range request {
				request[i] = byte(fill)
				if fill < 0 {
					request[i] = byte(rand.Uint32())
				}
			}
			used, err := requests.AppendPorts(nil, request)
			if err != nil {
				t.Fatal(err)
			}
			hits := 0
			for range rounds {
				response := make([]byte, 20)
				for i := range response {
					response[i] = byte(rand.Uint32())
				}
				ports, err := responses.AppendPorts(nil, response)
				if err != nil {
					t.Fatal(err)
				}
				for _, port := range ports {
					if slices.Contains(used, port) {
						hits++
					}
				}
			}
			// Five standard deviations of a count of mean bound·rounds.
			if limit := bound*rounds + 5*math.Sqrt(bound*rounds) + 1; float64(hits) > limit {
				t.Errorf("%+v, %#x: %d hits of %d, and the bound is %.3f each", e, fill, hits, rounds, bound)
			}
		}
	}
}

// TestUses: a message uses exactly the ports of its packets.
func TestUses(t *testing.T) {
	for _, e := range []Encoding{
		{Scheme: Sequence, Base: 1024, DataBits: 5, SequenceBits: 5}, {Scheme: Ranges, Base: 1024, DataBits: 3},
		{Scheme: Ranges, Base: 1024, DataBits: 4, Restart: 6}, {Scheme: Differences, Base: 1024, DataBits: 4},
		{Scheme: Delays, Base: 1024, DataBits: 6, Delay: time.Millisecond},
	} {
		c := codec(t, e, 14)
		message := []byte("0123456789abcd")
		ports, err := c.AppendPorts(nil, message)
		if err != nil {
			t.Fatal(err)
		}
		has := map[uint16]bool{}
		for _, p := range ports {
			has[p] = true
		}
		for port := range 1 << 16 {
			if c.Uses(message, uint16(port)) != has[uint16(port)] {
				t.Errorf("%+v: port %d", e, port)
			}
		}
	}
}
