package line

import (
	"math/rand/v2"
	"time"
)

// Line is a line without its disturbances.
type Line struct {
	BitsPerSecond int           // 0: no limit
	OneWay        time.Duration // after the last bit has left
}

// Transmission returns the time in which the line sends a packet.
func (l Line) Transmission(bytes int) time.Duration {
	if l.BitsPerSecond == 0 {
		return 0
	}
	return time.Duration(bytes) * 8 * time.Second / time.Duration(l.BitsPerSecond)
}

// Model is how the network behind a line disturbs packets. Its parts are
// independent of each other, and each may be zero.
type Model struct {
	Name string
	// Each packet takes one of the links at random (at most MaxLinks). It waits there
	// for an exponential time with this mean, and never overtakes a packet of the same
	// link. Bennett et al. found such parallel links to be the cause of reordering.
	Links int
	Wait  time.Duration
	// Late is the share of packets that arrive later than by the above, by an
	// exponential time with the mean LateBy. With a share of 1 it is jitter.
	Late   float64
	LateBy time.Duration

	Loss       float64 // the share of packets that are lost
	Duplicates float64 // the share of packets that arrive twice
}

// MaxLinks is the maximum of Model.Links.
const MaxLinks = 16

// Path is one direction of a line for one client.
type Path struct {
	line   Line
	model  Model
	random *rand.Rand
	free   time.Duration           // when the line has sent all packets
	links  [MaxLinks]time.Duration // the arrival of the last packet of each link
}

// NewPath returns a path without packets.
func NewPath(l Line, m Model, seed, stream uint64) *Path {
	return &Path{line: l, model: m, random: rand.New(rand.NewPCG(seed, stream))}
}

// Send sends a packet, and appends the arrival time of each of its copies: none if it
// is lost. It returns when its first bit leaves. The times are since any moment; the
// time at must not decrease from packet to packet.
func (p *Path) Send(dst []time.Duration, at time.Duration, bytes int) (began time.Duration, arrivals []time.Duration) {
	began = max(at, p.free)
	p.free = began + p.line.Transmission(bytes)
	if p.happens(p.model.Loss) {
		return began, dst
	}
	copies := 1
	if p.happens(p.model.Duplicates) {
		copies = 2
	}
	for range copies {
		dst = append(dst, p.arrival())
	}
	return began, dst
}

func (p *Path) arrival() time.Duration {
	due := p.free + p.line.OneWay
	if p.model.Links > 0 {
		link := &p.links[p.random.IntN(p.model.Links)]
		due = max(due+p.exponential(p.model.Wait), *link)
		*link = due
	}
	if p.happens(p.model.Late) {
		due += p.exponential(p.model.LateBy)
	}
	return due
}

func (p *Path) happens(share float64) bool { return share > 0 && p.random.Float64() < share }

func (p *Path) exponential(mean time.Duration) time.Duration {
	return time.Duration(p.random.ExpFloat64() * float64(mean))
}
