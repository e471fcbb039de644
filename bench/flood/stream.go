package flood

import (
	"context"
	"errors"
	"time"
)

// Stream is what a Generator plays. Frames of different lengths are allowed.
type Stream struct {
	// Flood is sent over and over, in order. None means that only the honest
	// frames are sent.
	Flood [][]byte
	// Vary changes each frame of the flood before it is sent. Its zero value
	// changes nothing.
	Vary Vary
	// Honest frames are sent once each, in order, with Every of the flood
	// between two on average: 1 to 2*Every-1 at random, since what one of them
	// makes the host do may be over just when the next comes after a fixed
	// number. When they are through, the flood goes on alone.
	Honest [][]byte
	Every  int
	// Rate is how many frames a second there are in all; 0: as many as it goes.
	Rate float64
	// For is how long it plays, at most maxFor.
	For time.Duration
}

// Vary overwrites four bytes of a payload with Base | (random & Mask), where
// Mask is not 0; both as they stand in the payload.
type Vary struct {
	Offset     int
	Base, Mask [4]byte
}

// Sent is what a Generator has done.
type Sent struct {
	Frames uint64
	// Honest is when each honest frame was sent, on the monotonic clock in
	// nanoseconds; 0: not at all.
	Honest []int64
}

// Generator plays streams.
type Generator interface {
	// Play returns when the stream has been played or ctx ends.
	Play(ctx context.Context, s Stream) (Sent, error)
	Name() string
	Close() error
}

const (
	maxFor   = time.Minute
	maxFrame = 512
	// burst is how far a generator that was held up may run ahead of its rate
	// to catch up.
	burst = time.Millisecond
)

// check refuses what no generator can play.
func (s Stream) check() error {
	switch {
	case s.For <= 0 || s.For > maxFor:
		return errors.New("a stream plays for a minute at most")
	case len(s.Flood)+len(s.Honest) == 0:
		return errors.New("a stream without frames")
	case len(s.Honest) > 0 && s.Every < 1:
		return errors.New("a stream that does not say where its honest frames are")
	case len(s.Flood) == 0 && s.Rate <= 0:
		return errors.New("a stream of honest frames alone needs a rate")
	}
	for _, list := range [][][]byte{s.Flood, s.Honest} {
		for _, f := range list {
			if len(f) < HeaderSize || len(f) > maxFrame {
				return errors.New("a stream with a frame that is too short or too long")
			}
		}
	}
	return nil
}

// longest is the length of the longest frame.
func (s Stream) longest() (n int) {
	for _, list := range [][][]byte{s.Flood, s.Honest} {
		for _, f := range list {
			n = max(n, len(f))
		}
	}
	return n
}
