package fleet

import (
	"os"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/target"
)

// usage is the use of the cores since the machine was started.
type usage struct {
	ticks []clock.Ticks
	own   time.Duration // of this process, and of all programs that it has started
}

func (t *testbed) usage() (u usage, err error) {
	if u.ticks, err = clock.TicksOf(t.cores); err != nil {
		return u, err
	}
	u.own, err = target.FamilyTime(os.Getpid())
	return u, err
}

// noise returns what others have taken of the cores since then. No program that was running
// may have ended meanwhile.
func (t *testbed) noise(since usage) (Noise, error) {
	now, err := t.usage()
	if err != nil {
		return Noise{}, err
	}
	return Noise{clock.MostStolen(since.ticks, now.ticks), clock.OthersShare(since.ticks, now.ticks, now.own-since.own)}, nil
}
