package challenge

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawCodec draws a valid encoding, and the size of its messages.
func drawCodec(t *rapid.T, schemes ...Scheme) *Codec {
	for {
		e := Encoding{
			Scheme:   rapid.SampledFrom(schemes).Draw(t, "scheme"),
			Base:     rapid.Uint16Range(1, 2000).Draw(t, "base"),
			DataBits: rapid.IntRange(1, 15).Draw(t, "data bits"),
		}
		switch e.Scheme {
		case Sequence:
			e.SequenceBits = rapid.IntRange(1, 10).Draw(t, "sequence bits")
		case Delays:
			e.Delay = 10 * time.Millisecond
		}
		if e.Scheme != Delays && rapid.Bool().Draw(t, "restarts") {
			e.Restart = rapid.IntRange(MinRestart, 24).Draw(t, "restart")
		}
		if c, err := e.Codec(rapid.IntRange(1, MaxMessage).Draw(t, "bytes")); err == nil {
			return c
		}
	}
}

func drawMessage(t *rapid.T, c *Codec) []byte {
	return rapid.SliceOfN(rapid.Byte(), c.bytes, c.bytes).Draw(t, "message")
}

func portsOf(t *rapid.T, c *Codec, message []byte) []uint16 {
	ports, err := c.AppendPorts(nil, message)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		if p < c.First() || p > c.Last() {
			t.Fatalf("port %d, outside of %d to %d", p, c.First(), c.Last())
		}
	}
	return ports
}

// arrivals draws an order of arrival, with duplicates, that the scheme survives.
// Each number is the index of a packet.
func arrivals(t *rapid.T, c *Codec) (order []int) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
	if c.encoding.Scheme == Delays {
		for i := range c.packets {
			order = append(order, i)
			for range r.IntN(3) {
				order = append(order, i)
			}
		}
		return order
	}
	if c.block == c.packets || c.encoding.Scheme == Differences {
		for first := 0; first < c.packets; first += c.block {
			var block []int
			for i := first; i < min(first+c.block, c.packets); i++ {
				for range 1 + r.IntN(3) {
					block = append(block, i)
				}
			}
			r.Shuffle(len(block), func(i, j int) { block[i], block[j] = block[j], block[i] })
			// No duplicate arrives after its block is complete, except in the last
			// block.
			if first+c.block < c.packets {
				seen := map[int]bool{}
				for i, p := range block {
					if seen[p] = true; len(seen) == c.block {
						block = block[:i+1]
						break
					}
				}
			}
			order = append(order, block...)
		}
		return order
	}
	// Each packet arrives at most half a block from the first missing packet.
	come := make([]bool, c.packets)
	for missing := 0; missing < c.packets; {
		low, high := max(missing-c.block/2, 0), min(missing+(c.block+1)/2, c.packets)
		i := low + r.IntN(high-low)
		order = append(order, i)
		come[i] = true
		for missing < c.packets && come[missing] {
			missing++
		}
	}
	return order
}

// times returns the arrival times of packets that are sent a delay apart;
// duplicates arrive at once.
func times(c *Codec, order []int) []time.Time {
	var at []time.Time
	now, last := start, -1
	for _, i := range order {
		if i > last {
			now, last = start.Add(time.Duration(i)*c.Delay()), i
		} else {
			now = now.Add(c.Delay() / 100)
		}
		at = append(at, now)
	}
	return at
}

// feed adds the packets in an order, and returns the last verdict.
func feed(d *Decoder, c *Codec, ports []uint16, order []int) (v Verdict) {
	for n, at := range times(c, order) {
		v = d.Add(ports[order[n]], at)
	}
	return v
}

var all = []Scheme{Sequence, Differences, Ranges, Delays}

func TestAnyPromisedOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCodec(t, all...)
		message := drawMessage(t, c)
		ports, order := portsOf(t, c, message), arrivals(t, c)
		d := NewDecoders(1, c)[0]
		d.Reset(c)
		if v := feed(&d, c, ports, order); v != Complete {
			t.Fatalf("%s", v)
		}
		if got := d.AppendMessage(nil); !bytes.Equal(got, message) {
			t.Errorf("%x, want %x", got, message)
		}
		// Late duplicates change nothing.
		if v := d.Add(ports[0], start.Add(time.Hour)); v != Complete {
			t.Errorf("then %s", v)
		}
	})
}

// TestLoss: a message of which a packet is lost is never complete, even with
// duplicates of the other packets.
func TestLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCodec(t, all...)
		ports, order := portsOf(t, c, drawMessage(t, c)), arrivals(t, c)
		lost := rapid.IntRange(0, c.packets-1).Draw(t, "lost")
		order = slices.DeleteFunc(order, func(i int) bool { return i == lost })
		var d Decoder
		d.Reset(c)
		v := feed(&d, c, ports, order)
		switch {
		case c.block < c.packets:
			// With restarts another packet may be read in its place, and is then
			// missing in its own, unless a duplicate is read there.
			seen := slices.Compact(slices.Sorted(slices.Values(order)))
			if v == Complete && len(order) == len(seen) {
				t.Errorf("complete without packet %d", lost)
			}
		case v == Complete || v == Impossible && c.encoding.Scheme != Delays:
			t.Errorf("%s without packet %d", v, lost)
		}
	})
}

// TestForged: with Sequence and Ranges, the decoder detects a forged packet with
// the number of a packet that has arrived.
func TestForged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCodec(t, Sequence, Ranges)
		if c.block < c.packets {
			return
		}
		ports, order := portsOf(t, c, drawMessage(t, c)), arrivals(t, c)
		var d Decoder
		d.Reset(c)
		cut := rapid.IntRange(1, len(order)).Draw(t, "cut")
		if feed(&d, c, ports, order[:cut]) == Complete {
			return
		}
		strange := rapid.Uint16Range(c.First(), c.Last()).Draw(t, "strange")
		number := func(port uint16) int {
			if c.encoding.Scheme == Sequence {
				return int(port-c.encoding.Base) % (1 << c.encoding.SequenceBits)
			}
			return int(port-c.encoding.Base) >> c.encoding.DataBits
		}
		taken := slices.ContainsFunc(order[:cut], func(i int) bool { return number(ports[i]) == number(strange) })
		duplicate := slices.ContainsFunc(order[:cut], func(i int) bool { return ports[i] == strange })
		want := Incomplete
		switch {
		case number(strange) >= c.packets, taken && !duplicate:
			want = Impossible
		case !taken:
			return
		}
		if got := d.Add(strange, start); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if want == Impossible && d.Add(ports[0], start) != Impossible {
			t.Error("and then it was possible again")
		}
	})
}

// TestPrefix: a prefix admits the packets of its messages in every order that
// the scheme survives, and does not admit all packets of another message.
func TestPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCodec(t, all...)
		message, order := drawMessage(t, c), arrivals(t, c)
		n := rapid.IntRange(0, c.bytes).Draw(t, "bytes of the beginning")
		p, err := c.Prefix(message[:n])
		if err != nil {
			t.Fatal(err)
		}
		ports := portsOf(t, c, message)
		var d Decoder
		d.Reset(c)
		for n, now := range times(c, order) {
			if d.verdict != Incomplete {
				break
			}
			port := ports[order[n]]
			if _, ok := p.Admits(&d, port, now); !ok {
				t.Fatalf("packet %d of the message is not admitted", order[n])
			}
			if !d.Belongs(message, port, now) {
				t.Fatalf("packet %d does not belong to its message", order[n])
			}
			d.Add(port, now)
		}
		// The packets of another message are admitted until they differ.
		other := drawMessage(t, c)
		if bytes.Equal(other[:n], message[:n]) {
			return
		}
		ports = portsOf(t, c, other)
		d.Reset(c)
		now := start
		for _, port := range ports {
			now = now.Add(c.Delay())
			if _, ok := p.Admits(&d, port, now); !ok {
				return
			}
			d.Add(port, now)
		}
		t.Errorf("%x is admitted as a message that begins with %x", other, message[:n])
	})
}

func TestNothingIsAllocated(t *testing.T) {
	for s := Sequence; s <= Delays; s++ {
		e := Encoding{Scheme: s, Base: 1024, DataBits: 8}
		switch s {
		case Sequence:
			e.SequenceBits = 5
		case Delays:
			e.Delay = time.Millisecond
		}
		c := codec(t, e, 20)
		message := bytes.Repeat([]byte{0xa5, 0x17}, 10)
		ports, err := c.AppendPorts(nil, message)
		if err != nil {
			t.Fatal(err)
		}
		prefix, err := c.Prefix(message[:10])
		if err != nil {
			t.Fatal(err)
		}
		d := &NewDecoders(1, c)[0]
		buffer := make([]byte, 0, 20)
		if n := testing.AllocsPerRun(100, func() {
			d.Reset(c)
			now := start
			for _, p := range ports {
				now = now.Add(c.Delay())
				if _, ok := prefix.Admits(d, p, now); ok && d.Belongs(message, p, now) {
					d.Add(p, now)
				}
			}
			buffer = d.AppendMessage(buffer[:0])
		}); n != 0 {
			t.Errorf("%s: %v allocations a message", s, n)
		}
		if !bytes.Equal(buffer, message) {
			t.Errorf("%s: %x", s, buffer)
		}
	}
}

// TestBelongs: not all packets of another message belong to a message.
func TestBelongs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCodec(t, all...)
		message, other := drawMessage(t, c), drawMessage(t, c)
		if bytes.Equal(message, other) {
			return
		}
		var d Decoder
		d.Reset(c)
		now := start
		belong := true
		for _, port := range portsOf(t, c, other) {
			now = now.Add(c.Delay())
			if !d.Belongs(message, port, now) {
				belong = false
				break
			}
			d.Add(port, now)
		}
		if belong {
			t.Errorf("all packets of %x belong to %x", other, message)
		}
	})
}
