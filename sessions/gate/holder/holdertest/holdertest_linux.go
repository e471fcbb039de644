package holdertest

import (
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/holder"
)

// Start starts a holder, and returns the connection when the holder is ready.
// The channel gets the error of holder.Serve. The Log of cfg may be nil.
func Start(t testing.TB, cfg holder.Config) (*holder.Conn, <-chan error) {
	t.Helper()
	return StartIn(t, func(f func() error) error { return f() }, cfg)
}

// StartIn is Start with a holder that runs inside in, such as the Do of a
// netns.Host.
func StartIn(t testing.TB, in func(func() error) error, cfg holder.Config) (*holder.Conn, <-chan error) {
	t.Helper()
	c, ended := serve(t, in, cfg)
	if err := c.Begin(t.Context(), cfg.Digest); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- (<-ended).Err }()
	return c, done
}

// Ended is the result of holder.Serve.
type Ended struct {
	Orderly bool
	Err     error
}

// Serve is Start without the begin request, which the test sends.
func Serve(t testing.TB, cfg holder.Config) (*holder.Conn, <-chan Ended) {
	t.Helper()
	return serve(t, func(f func() error) error { return f() }, cfg)
}

func serve(t testing.TB, in func(func() error) error, cfg holder.Config) (*holder.Conn, <-chan Ended) {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	lifeline, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan Ended, 1)
	go func() {
		defer held.Close()
		var e Ended
		e.Err = in(func() (err error) {
			e.Orderly, err = holder.Serve(os.NewFile(uintptr(pair[1]), "server"), cfg)
			return err
		})
		ended <- e
	}()
	c, err := holder.NewConn(os.NewFile(uintptr(pair[0]), "holder"), lifeline, cfg.Clock)
	if err != nil {
		t.Fatal(err)
	}
	return c, ended
}

// Stop stops a holder in order, and waits for its end.
func Stop(t testing.TB, c *holder.Conn, ended <-chan error) {
	t.Helper()
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
