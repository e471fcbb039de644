package holder_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/holder"
)

// standing is a holder whose session a test plays, over a socket.
type standing struct {
	t    *testing.T
	fd   int
	conn *holder.Conn
}

// The messages of such a holder.
var (
	isReady = []byte{1, holder.Version}
	isDone  = []byte{2}
	unknown = []byte("\x03a request of kind 96 cannot have 0 bytes")
	aPing   = []byte{96}

	asksSandbox = []byte{72}
)

const anOpen = 1 // the kind of a request for changes

func stand(t *testing.T, silence time.Duration) *standing {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	lifeline, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &standing{t: t, fd: pair[1]}
	t.Cleanup(func() {
		held.Close()
		unix.Close(s.fd)
	})
	if s.conn, err = holder.NewConn(os.NewFile(uintptr(pair[0]), "holder"), lifeline, running); err != nil {
		t.Fatal(err)
	}
	s.conn.SetTimes(20*time.Millisecond, silence)
	begun := make(chan error, 1)
	go func() { begun <- s.conn.Begin(t.Context(), holder.Digest{1}) }()
	s.take()
	s.send(isReady)
	if got := s.take(); !slices.Equal(got, asksSandbox) {
		t.Fatalf("got %x, want the question of what is in force", got)
	}
	s.send(unknown)
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	return s
}

// take returns the next request.
func (s *standing) take() []byte {
	s.t.Helper()
	b := make([]byte, 1<<16)
	n, err := unix.Read(s.fd, b)
	if err != nil || n == 0 {
		s.t.Fatalf("read a request: %d bytes, %v", n, err)
	}
	return b[:n]
}

func (s *standing) send(reply []byte) {
	s.t.Helper()
	if _, err := unix.Write(s.fd, reply); err != nil {
		s.t.Fatal(err)
	}
}

// run runs Conn.Run, and returns its events and its result.
func (s *standing) run(ctx context.Context) (events chan string, ended chan error) {
	events, ended = make(chan string, 8), make(chan error, 1)
	go func() {
		ended <- s.conn.Run(ctx, holder.Events{
			Silent: func() { events <- "silent" }, Continues: func() { events <- "continues" },
		})
	}()
	return events, ended
}

// TestSilentHolder: a holder that does not answer a ping is not given up. Nothing is asked of
// it until it answers; then all is as before. Any reply is a sign of life.
func TestSilentHolder(t *testing.T) {
	s := stand(t, time.Hour)
	e := holder.NewEnforcer(s.conn, ssh)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, ended := s.run(ctx)
	for _, reply := range [][]byte{isDone, unknown} {
		s.conn.Ping()
		if got := s.take(); !slices.Equal(got, aPing) {
			t.Fatalf("got %x, want a ping", got)
		}
		if got := <-events; got != "silent" || !s.conn.Silent() || !s.conn.Held() {
			t.Errorf("%s; silent %t, held %t", got, s.conn.Silent(), s.conn.Held())
		}
		err := one(e, opens(peer("192.0.2.1"), time.Hour))
		if !errors.Is(err, holder.ErrSilent) || errors.Is(err, holder.ErrDead) {
			t.Errorf("a grant: %v", err)
		}
		if err := s.conn.OpenKnockPorts([]uint16{2000}, time.Second); !errors.Is(err, holder.ErrSilent) {
			t.Errorf("a knock port: %v", err)
		}
		// Only a connection is left of a lease that the kernel has ended.
		err = one(e, revokes(peer("192.0.2.9"), true))
		if !errors.Is(err, holder.ErrSilent) || !e.Owes() || !s.conn.Held() {
			t.Errorf("the end of a connection: %v; owed: %t", err, e.Owes())
		}
		s.send(reply)
		if got := <-events; got != "continues" || s.conn.Silent() {
			t.Errorf("%s; silent: %t", got, s.conn.Silent())
		}
	}
	// The next reply is that of the next request, and not of an earlier one.
	if err := s.grants(e); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSilentTooLong: a holder that stays silent is given up, and so is one that a lease needs
// that must end before its time.
func TestSilentTooLong(t *testing.T) {
	s := stand(t, 20*time.Millisecond)
	_, ended := s.run(t.Context())
	s.conn.Ping()
	if err := <-ended; !errors.Is(err, holder.ErrDead) || s.conn.Silent() {
		t.Errorf("given up with %v; silent: %t", err, s.conn.Silent())
	}

	s = stand(t, time.Hour)
	e := holder.NewEnforcer(s.conn, ssh)
	if err := s.grants(e); err != nil {
		t.Fatal(err)
	}
	events, ended := s.run(t.Context())
	s.conn.Ping()
	<-events
	if err := one(e, revokes(peer("192.0.2.1"), false)); err == nil {
		t.Error("the end of a lease was not asked for, and did not fail")
	}
	if err := <-ended; !errors.Is(err, holder.ErrDead) {
		t.Errorf("given up with %v", err)
	}
}

// grants opens for a peer.
func (s *standing) grants(e *holder.Enforcer) error {
	granted := make(chan error, 1)
	go func() { granted <- one(e, opens(peer("192.0.2.1"), time.Hour)) }()
	if got := s.take(); got[0] != anOpen {
		s.t.Errorf("got %x, want a change", got)
	}
	s.send(isDone)
	return <-granted
}
