package forward

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/client"
	"sallyport/sessions/syserror"
)

// unserved returns what a knock returns for a port without a program: at once if the
// service was silent before; else only after the next minute's ports, unless the request
// has Refused.
func (w *remote) unserved(ctx context.Context, r Request, wasOpen bool) error {
	e := &client.OfflineError{Server: "gate", Service: netip.AddrPortFrom(serverAddress, 81), Reason: client.ReasonNotListening}
	if wasOpen {
		e.Reason = client.ReasonRefused
		if !r.Refused {
			w.mu.Unlock()
			sleep(ctx, time.Minute)
			w.mu.Lock()
		}
	}
	return fmt.Errorf("%w: %w", e, syserror.Refused.Err())
}

// TestNobodyListens: at a port where no program listens, each local connection is reset
// at once, with the cause of the knock, and none waits for the next minute. A program
// that starts meanwhile is found without a knock.
func TestNobodyListens(t *testing.T) {
	for name, other := range map[string]bool{"its own knock": false, "the knock of another route": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := newListener(), newListener()
				w := &remote{openFor: time.Hour, rtt: 20 * time.Millisecond, nobody: true}
				s := serve(t, w, Config{OpenFor: time.Hour},
					Route{Service: ":80", Streams: listeners(here)}, Route{Service: ":81", Streams: listeners(there)})
				knocks := 1
				if other {
					knocks++
					if err := echoes(here.connect(), "text"); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 5 {
					begin := time.Now()
					if _, err := io.ReadAll(there.connect()); !isReset(err) {
						t.Errorf("connection %d: %v, want a reset", i, err)
					}
					if took := time.Since(begin); took > time.Second {
						t.Errorf("connection %d is reset after %s", i, took)
					}
				}
				if w.count() != knocks {
					t.Errorf("%d knocks, want %d", w.count(), knocks)
				}
				if f := s.failures(); len(f) != 1 {
					t.Errorf("reported %q, want one cause", f)
				}
				if !other { // the knock has opened the other services
					if err := echoes(here.connect(), "text"); err != nil || w.count() != knocks {
						t.Errorf("at the other port: %v, %d knocks", err, w.count())
					}
				}
				w.mu.Lock()
				w.nobody = false
				w.mu.Unlock()
				if err := echoes(there.connect(), "text"); err != nil || w.count() != knocks {
					t.Errorf("when a program listens: %v, %d knocks", err, w.count())
				}
				s.end(t)
			})
		})
	}
}
