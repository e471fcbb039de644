package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// reordered is an encoding with all the ports that its requests and responses use.
type reordered struct {
	name              string
	request, response challenge.Encoding
	ports             challenge.Ports
	shared            bool // requests and responses have the same ports
}

const blockSize = 7 // packets between two restarts

// reorderedEncodings returns every scheme, with a restart and without, and some whose
// requests and responses share ports. One host can have a server for each: no two have a
// port in common, except those with shared ports, whose exchanges are from other addresses.
func reorderedEncodings() (all []reordered) {
	next := 1100
	add := func(name string, e challenge.Encoding, maximum int) {
		c, err := e.Codec(maximum)
		if err != nil {
			panic(err)
		}
		r := reordered{name: name, request: e, response: e}
		r.request.Base = uint16(next)
		r.response.Base = uint16(next + c.Span())
		r.ports = challenge.Ports{First: uint16(next), Last: uint16(next + 2*c.Span() - 1)}
		next += 2 * c.Span()
		all = append(all, r)
	}
	const maximum = 10 + exchange.NonceSize // of Algorithm 3, the longest
	for _, restart := range []int{0, blockSize} {
		name := map[bool]string{true: " with restarts"}[restart > 0]
		add("sequence"+name, challenge.Encoding{Scheme: challenge.Sequence, DataBits: 6, SequenceBits: 6, Restart: restart}, maximum)
		add("differences"+name, challenge.Encoding{Scheme: challenge.Differences, DataBits: 8, Restart: restart}, maximum)
		add("ranges"+name, challenge.Encoding{Scheme: challenge.Ranges, DataBits: 8, Restart: restart}, maximum)
	}
	add("delays", challenge.Encoding{Scheme: challenge.Delays, DataBits: 8, Delay: 20 * time.Millisecond}, maximum)
	for _, e := range []challenge.Encoding{
		{Scheme: challenge.Ranges, Base: 1100, DataBits: 8}, {Scheme: challenge.Differences, Base: 9100, DataBits: 8},
		{Scheme: challenge.Sequence, Base: 17100, DataBits: 7, SequenceBits: 6},
	} {
		all = append(all, reordered{
			name: string(e.Scheme) + " with shared ports", request: e, response: e, ports: challenge.Ports{First: 1100, Last: 40000}, shared: true,
		})
	}
	return all
}

// The modes: the faults of the network.
const (
	swapped    = "swapped"    // the last two packets of each message
	shuffled   = "shuffled"   // as far as the scheme survives it
	duplicated = "duplicated" // shuffled, each packet twice
	late       = "late"       // shuffled, and the request again among the packets of the response
	lost       = "lost"       // a packet of the first request
	unheard    = "unheard"    // the first challenge
	cutOff     = "cut off"    // a packet of the first response
)

// reorderedExchange is one exchange through the relay.
type reorderedExchange struct {
	encoding  reordered
	operation *exchange.Operation
	mode      string
	v6        bool
	number    int
	random    *mathrand.Rand

	mu      sync.Mutex
	request [][]byte // as it was sent
	sent    int      // packets of the client, with shared ports
	dropped int
}

func (e *reorderedExchange) String() string {
	return fmt.Sprintf("%s, algorithm %d, IPv6 %v, %s", e.encoding.name, e.operation.Algorithm(), e.v6, e.mode)
}

func (e *reorderedExchange) address(host int) string {
	if e.v6 {
		return fmt.Sprintf("2001:db8:%x::%d", e.number, host)
	}
	return fmt.Sprintf("10.%d.%d.%d", e.number/256, e.number%256, host)
}

// repeats reports whether the network drops packets of the first attempt.
func (e *reorderedExchange) repeats() bool {
	return e.mode == lost || e.mode == unheard || e.mode == cutOff
}

func (e *reorderedExchange) service() uint16 { return uint16(50000 + e.number) }

// size returns the number of packets of the message of a port, and whether it is a
// response.
func (e *reorderedExchange) size(port uint16) (class, size int) {
	requests, responses, err := Challenge{
		Operation: e.operation, Request: e.encoding.request, Response: e.encoding.response, SharedPorts: e.encoding.shared,
	}.codecs(e.v6)
	switch {
	case err != nil:
		panic(err)
	case e.encoding.shared && port >= e.encoding.ports.First && port <= e.encoding.ports.Last:
		// The client sends the request first.
		if e.sent++; e.sent <= requests.Packets() {
			return 0, requests.Packets()
		}
		return 1, responses.Packets()
	case port >= requests.First() && port <= requests.Last():
		class, size = 0, requests.Packets()
	case port >= responses.First() && port <= responses.Last():
		class, size = 1, responses.Packets()
	}
	if e.encoding.request.Scheme == challenge.Delays && (e.mode == duplicated || e.mode == lost && e.dropped > 0) {
		size = min(size, 1) // the network keeps the pauses
	}
	return class, size
}

// window is within how many packets the scheme survives any order.
func (e *reorderedExchange) window(size int) int {
	switch enc := e.encoding.request; {
	case enc.Restart == 0:
		return size
	case enc.Scheme == challenge.Differences:
		return enc.Restart
	default:
		return (enc.Restart + 1) / 2
	}
}

// release returns the frames that arrive in place of a message.
func (e *reorderedExchange) release(m netns.Message) [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	frames := slices.Clone(m.Frames)
	if m.Class == 0 {
		e.request = m.Frames
	}
	shuffle := func(frames [][]byte, window int) {
		for part := range slices.Chunk(frames, window) {
			e.random.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		}
	}
	n := len(frames)
	switch e.mode {
	case swapped:
		frames[n-1], frames[n-2] = frames[n-2], frames[n-1]
	case shuffled:
		shuffle(frames, e.window(n))
	case duplicated:
		frames = e.duplicate(frames, shuffle)
	case late:
		shuffle(frames, e.window(n))
		if m.Class == 1 {
			// The whole request before, in the middle of, and after the response.
			again := slices.Clone(e.request)
			mixed := slices.Clone(again)
			mixed = append(mixed, frames[:n/2]...)
			mixed = append(mixed, again...)
			for i, f := range frames[n/2:] {
				mixed = append(mixed, f, again[i%len(again)])
			}
			frames = mixed
		}
	case lost, cutOff:
		if m.Number == 0 && (e.mode == lost) == (m.Class == 0) {
			i := e.random.IntN(n)
			frames = slices.Delete(frames, i, i+1)
			e.dropped++
		}
	}
	return frames
}

// duplicate returns each frame twice, in any order that the scheme survives.
func (e *reorderedExchange) duplicate(frames [][]byte, shuffle func(frames [][]byte, window int)) (all [][]byte) {
	window := e.window(len(frames))
	if e.encoding.request.Restart == 0 || e.encoding.request.Scheme != challenge.Differences {
		if e.encoding.request.Restart > 0 {
			window = e.encoding.request.Restart / 2 // a duplicate is read like the first packet of half a block before
		}
		for _, f := range frames {
			all = append(all, f, f)
		}
		shuffle(all, 2*window)
		return all
	}
	// The last packet of a block ends the time for its duplicates.
	shuffle(frames, window)
	for block := range slices.Chunk(frames, window) {
		last := len(block) - 1
		all = append(all, block[:last]...)
		shuffle(block[:last], window)
		all = append(append(all, block[:last]...), block[last])
	}
	return all
}

// openService listens at the exchange's port.
func (e *reorderedExchange) openService(t *testing.T) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", e.service()))
	if err != nil {
		return // it is open already
	}
	t.Cleanup(func() { l.Close() })
}

// drop reports whether nothing of the exchange was dropped before.
func (e *reorderedExchange) drop() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped++
	return e.dropped == 1
}

// run makes the exchange.
func (e *reorderedExchange) run(t *testing.T, host *netns.Host) {
	cfg := ExchangeConfig{
		Server: e.address(1), Random: rand.Reader, Timeout: time.Minute, Attempts: 1,
		Challenge: Challenge{
			Operation: e.operation, Request: e.encoding.request, Response: e.encoding.response,
			SharedPorts: e.encoding.shared, Service: fmt.Sprintf(":%d", e.service()),
		},
	}
	if e.repeats() {
		cfg.Attempts, cfg.Timeout = 100, time.Second // a busy machine may need more than two
	}
	var r Result
	var err error
	exchange := func() bool {
		err = host.Do(func() (err error) {
			if err := netns.OneCore(); err != nil {
				return err
			}
			r, err = Exchange(t.Context(), cfg)
			return err
		})
		return err == nil
	}
	var offline *OfflineError
	if e.encoding.request.Scheme == challenge.Delays && !e.repeats() {
		// A busy machine does not keep the pauses in each exchange.
		cfg.Timeout = time.Second
		netns.Until(t, "an exchange with delays", func() bool { return exchange() || !errors.As(err, &offline) })
	} else {
		exchange()
	}
	if errors.As(err, &offline) {
		t.Errorf("%s: %v; %s", e, err, offline.Hint())
		return
	}
	if err != nil {
		t.Errorf("%s: %v", e, err)
		return
	}
	if got := r.Lost; r.Attempts == 1 && got != (Lost{}) || got.Requests+got.Responses != r.Attempts-1 {
		t.Errorf("%s: %d attempts, but %+v", e, r.Attempts, got)
	}
	if (e.mode == lost || e.mode == unheard) && r.Lost.Requests == 0 {
		t.Errorf("%s: %+v", e, r.Lost)
	}
	if e.mode == cutOff && e.encoding.request.Scheme != challenge.Differences {
		return // the client sends the response again, in the same attempt
	}
	if e.repeats() != (r.Attempts > 1) {
		t.Errorf("%s: %d attempts", e, r.Attempts)
	}
}
