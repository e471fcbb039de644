package holder_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/holder"
)

// TestNextHolderHangs: while the next holder does not answer, a revocation does not wait for it.
func TestNextHolderHangs(t *testing.T) {
	far := make(chan int, 8)
	c := holder.NewDialingConn(func(context.Context) (net.Conn, error) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		near := os.NewFile(uintptr(pair[0]), "holder")
		defer near.Close()
		far <- pair[1]
		return net.FileConn(near)
	}, running)
	begun := make(chan error, 1)
	go func() { begun <- c.Begin(t.Context(), holder.Digest{1}) }()
	first := &standing{t: t, fd: <-far, conn: c}
	first.take()
	first.send(isReady)
	first.take()
	first.send(unknown)
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	e := holder.NewEnforcer(c, ssh)
	if err := first.grants(e); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var tried atomic.Bool
	go func() {
		ended <- c.Run(ctx, holder.Events{Lost: func(error) {}, Tried: func(error) { tried.Store(true) }, Found: func() {}})
	}()
	unix.Close(first.fd)
	next := &standing{t: t, fd: <-far, conn: c}
	next.take() // and no answer
	if err := one(e, revokes(peer("192.0.2.1"), true)); !errors.Is(err, holder.ErrDead) || !e.Owes() {
		t.Errorf("%v; owed: %t", err, e.Owes())
	}
	if tried.Load() {
		t.Error("the revocation has waited for the next holder")
	}
	cancel()
	unix.Close(next.fd)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}
