package daemon

import (
	"context"
	"io"
	"net"
	"time"

	"sallyport/sessions/gate/access"
)

// run opens and closes the port until ctx ends.
func (a *answers) run(ctx context.Context) error {
	defer a.tcp.Close()
	a.bind()
	check := time.NewTicker(bindPause)
	defer check.Stop()
	end := time.NewTicker(closeDelay)
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-end.C:
		case <-check.C:
			a.bind()
		}
		a.apply(a.changes(a.clock.Boot()))
	}
}

// bind binds the port, or verifies that it is bound.
func (a *answers) bind() {
	err := a.tcp.Prepare()
	a.mu.Lock()
	was := a.failed
	a.bound, a.failed = err == nil, err != nil
	a.mu.Unlock()
	switch {
	case err != nil && !was:
		a.log.Error("port of challenges unavailable; retrying", "listen", a.listen, "error", err)
	case err == nil && was:
		a.log.Info("port of challenges bound on retry", "listen", a.listen)
	}
}

// apply carries out changes. If the firewall cannot carry one out, the port stays
// closed for its client, which starts over: without the firewall, strangers may see it.
func (a *answers) apply(changes []access.Change) {
	for _, e := range a.enforcers {
		if len(changes) == 0 {
			return
		}
		errs := e.Apply(changes)
		var carried []access.Change
		for i, c := range changes {
			if errs == nil || errs[i] == nil || c.Revokes() {
				carried = append(carried, c)
			}
		}
		changes = carried
	}
}

// Serve implements gate.Handler.
func (a *answers) Serve(l net.Listener) error {
	places := make(chan struct{}, maxServed)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
			go func() {
				a.serve(c)
				<-places
			}()
		default:
			c.Close() // the client tries again
		}
	}
}

// serve sends the challenges of an address: their number, and then the size and the
// bytes of each. The first one is that of a request from the connection's own port. The
// client replies with the number of the one that it takes.
func (a *answers) serve(c net.Conn) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(answerRead)) != nil {
		return
	}
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	message, ids := a.message(remote.AddrPort())
	if message == nil {
		return
	}
	if _, err := c.Write(message); err != nil {
		return
	}
	var taken [1]byte
	if _, err := io.ReadFull(c, taken[:]); err == nil && taken[0] > 0 && int(taken[0]) <= len(ids) {
		a.remove(remote.AddrPort(), ids[taken[0]-1])
	}
}
