package gate

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/sessions/gate/access"
)

// failingFilter is a socket whose filter cannot be changed for a while.
type failingFilter struct {
	*net.TCPListener
	broken *atomic.Bool
}

var errFilter = errors.New("no filter")

func (u failingFilter) SyscallConn() (syscall.RawConn, error) {
	if u.broken.Load() {
		return nil, errFilter
	}
	return u.TCPListener.SyscallConn()
}

// TestFilterFails: a new peer is not admitted, the lease of another is extended
// all the same, and there is no socket while the filter may let removed peers
// through.
func TestFilterFails(t *testing.T) {
	var broken atomic.Bool
	log := slog.New(slog.DiscardHandler)
	d := NewTCP(TCPConfig{
		Listen: "127.0.0.1:0", PrefixLen6: 128, PerAddress: 64, Handler: NewWeb(Content{Handler: Pages()}, log), Clock: system, Log: log,
		ListenFunc: func(network, address string) (net.Listener, error) {
			l, err := listenDenyAll(network, address)
			if err != nil {
				return nil, err
			}
			return failingFilter{l.(*net.TCPListener), &broken}, nil
		},
	})
	defer d.Close()
	here, there := peer("127.0.0.1"), peer("192.0.2.1")
	until := func(d time.Duration) time.Time { return system.Boot().Add(d) }
	if errs := d.Apply([]access.Change{{Peer: here, Until: until(time.Minute)}}); errs != nil {
		t.Fatal(errs)
	}
	broken.Store(true)
	longer := until(time.Hour)
	errs := d.Apply([]access.Change{{Peer: here, Until: longer}, {Peer: there, Until: longer}})
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], errFilter) {
		t.Errorf("errors %v", errs)
	}
	d.mu.Lock()
	if d.listener != nil || d.admitted.Has(there.Prefix.Addr()) || !d.admitted.Allows(here.Prefix.Addr(), longer.Add(-time.Second)) {
		t.Errorf("a socket %v, lets in %v", d.listener, d.admitted)
	}
	d.mu.Unlock()
	broken.Store(false)
	if errs := d.Apply([]access.Change{{Peer: here, Until: longer}}); errs != nil {
		t.Fatal(errs)
	}
	c, err := net.Dial("tcp", d.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := get(c, "/test1.html"); got != 200 {
		t.Errorf("with the next grant: %d", got)
	}
}
