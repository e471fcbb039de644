package holder

import (
	"log/slog"

	"sallyport/sessions/gate/access"
)

// disconnector ends connections concurrently with other requests: reading the
// kernel's conntrack table can take a second, and grants must not wait for
// that.
type disconnector struct {
	queue chan []access.Change
	done  chan struct{}
}

// maxDisconnects is the number of requests that may wait. A further one blocks
// the session.
const maxDisconnects = 64

func newDisconnector(f Firewall, log *slog.Logger) disconnector {
	d := disconnector{make(chan []access.Change, maxDisconnects), make(chan struct{})}
	go func() {
		defer close(d.done)
		for changes := range d.queue {
			// One read of the table for all waiting requests.
			for range len(d.queue) {
				changes = append(changes, <-d.queue...)
			}
			if err := f.Disconnect(changes); err != nil {
				log.Error("failed to cut connections of revoked clients", "error", err)
			}
		}
	}()
	return d
}

// add queues connections to end.
func (d disconnector) add(changes []access.Change) {
	d.queue <- changes
}

// wait waits until all requests are done.
func (d disconnector) wait() {
	close(d.queue)
	<-d.done
}
