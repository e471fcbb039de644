package flood

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Stream is the input of a Generator. Frames may have different lengths.
type Stream struct {
	// Flood frames are sent repeatedly, in order. If there are none, only the
	// honest frames are sent.
	Flood [][]byte
	// Vary changes each flood frame before it is sent. The zero value changes
	// nothing.
	Vary Vary
	// Honest frames are sent once each, in order. Between two of them there are
	// Every flood frames on average: 1 to 2*Every-1 at random, because after a
	// fixed number the host could always be in the same state. After the last
	// honest frame, the flood continues.
	Honest [][]byte
	Every  int
	// Replies are honest frames that become known while the stream plays, such as the
	// next message of an exchange. Each is sent as soon as an honest frame is due,
	// before those of Honest. Only NewPacket plays them.
	Replies <-chan []byte
	// Rate is the number of all frames a second; 0: the maximum.
	Rate float64
	// For is the duration, at most maxFor.
	For time.Duration
}

// Vary overwrites four bytes of a payload with Base | (random & Mask), if Mask is
// not 0. Both are in the byte order of the payload.
type Vary struct {
	Offset     int
	Base, Mask [4]byte
}

// Sent is the result of a Generator.
type Sent struct {
	Frames uint64
	// Honest is the time at which each honest frame was sent, on the monotonic
	// clock in nanoseconds; 0: it was not sent.
	Honest []int64
}

// Generator plays streams.
type Generator interface {
	// Play plays a stream. It returns at its end, or when ctx ends.
	Play(ctx context.Context, s Stream) (Sent, error)
	Name() string
	Close() error
}

const (
	maxFor   = time.Minute
	maxFrame = 512
	// burst is the longest delay that a generator makes up for by exceeding its
	// rate.
	burst = time.Millisecond
)

// check returns an error for a stream that no generator can play.
func (s Stream) check() error {
	switch {
	case s.For <= 0 || s.For > maxFor:
		return fmt.Errorf("stream: got a duration of %s, expected at most %s", s.For, maxFor)
	case len(s.Flood)+len(s.Honest) == 0:
		return errors.New("stream: it has no frames")
	case len(s.Honest) > 0 && s.Every < 1:
		return fmt.Errorf("stream: got Every = %d with honest frames, expected at least 1", s.Every)
	case len(s.Flood) == 0 && s.Rate <= 0:
		return errors.New("stream: a stream of only honest frames requires a rate")
	}
	for _, list := range [][][]byte{s.Flood, s.Honest} {
		for _, f := range list {
			if len(f) < HeaderSize || len(f) > maxFrame {
				return fmt.Errorf("stream: got a frame of %d bytes, expected %d to %d", len(f), HeaderSize, maxFrame)
			}
		}
	}
	return nil
}

// longest returns the length of the longest frame.
func (s Stream) longest() (n int) {
	for _, list := range [][][]byte{s.Flood, s.Honest} {
		for _, f := range list {
			n = max(n, len(f))
		}
	}
	return n
}
