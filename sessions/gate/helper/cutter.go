package helper

import (
	"log/slog"

	"sallyport/sessions/gate/access"
)

// cutter ends connections beside what the holder does otherwise: to look
// through the kernel's table of connections can take a second, and grants do
// not wait for that.
type cutter struct {
	queue chan []access.Change
	done  chan struct{}
}

// maxCuts is how many requests may wait. One more has the server wait.
const maxCuts = 64

func newCutter(f Firewall, log *slog.Logger) cutter {
	c := cutter{make(chan []access.Change, maxCuts), make(chan struct{})}
	go func() {
		defer close(c.done)
		for changes := range c.queue {
			// One look for all that has come meanwhile.
			for range len(c.queue) {
				changes = append(changes, <-c.queue...)
			}
			if err := f.Disconnect(changes); err != nil {
				log.Error("failed to cut connections of revoked clients", "error", err)
			}
		}
	}()
	return c
}

// add has connections ended, soon.
func (c cutter) add(changes []access.Change) {
	c.queue <- changes
}

// end waits until all is done.
func (c cutter) end() {
	close(c.queue)
	<-c.done
}
