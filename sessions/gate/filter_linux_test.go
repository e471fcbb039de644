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

// unruly is a socket whose filter cannot be changed for a while.
type unruly struct {
	*net.TCPListener
	broken *atomic.Bool
}

var errUnruly = errors.New("no filter")

func (u unruly) SyscallConn() (syscall.RawConn, error) {
	if u.broken.Load() {
		return nil, errUnruly
	}
	return u.TCPListener.SyscallConn()
}

// TestFilterThatCannotBeChanged: a new peer is not let in, another's lease is
// made longer all the same, and as long as the filter may let through those that
// have left there is no socket.
func TestFilterThatCannotBeChanged(t *testing.T) {
	var broken atomic.Bool
	log := slog.New(slog.DiscardHandler)
	d := NewTCP(TCPConfig{
		Listen: "127.0.0.1:0", PrefixLen6: 128, PerAddress: 64, Server: NewWeb(Content{Handler: Pages()}, log), Clock: system, Log: log,
		ListenFunc: func(network, address string) (net.Listener, error) {
			l, err := listenScreened(network, address)
			if err != nil {
				return nil, err
			}
			return unruly{l.(*net.TCPListener), &broken}, nil
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
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], errUnruly) {
		t.Errorf("errors %v", errs)
	}
	d.mu.Lock()
	if d.listener != nil || d.in.Has(there.Prefix.Addr()) || !d.in.Allows(here.Prefix.Addr(), longer.Add(-time.Second)) {
		t.Errorf("a socket %v, lets in %v", d.listener, d.in)
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
