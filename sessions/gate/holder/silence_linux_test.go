package holder_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
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
	aCommit = []byte{6, 1}
	anAbort = []byte{6, 0}
	aResult = []byte{33}

	asksSandbox = []byte{72}
	isConnected = []byte{7, 1}
	isPending   = []byte{8}
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

// TestSilentHolderAndRevocation: if a client is revoked whose lease a silent holder still has,
// the holder is given up, and the connections of the client must end nevertheless.
func TestSilentHolderAndRevocation(t *testing.T) {
	s := stand(t, time.Hour)
	e := holder.NewEnforcer(s.conn, ssh)
	if err := s.grants(e); err != nil {
		t.Fatal(err)
	}
	events, ended := s.run(t.Context())
	s.conn.Ping()
	<-events
	if err := one(e, revokes(peer("192.0.2.1"), true)); err == nil {
		t.Error("the end of a lease was not asked for, and did not fail")
	}
	if err := <-ended; !errors.Is(err, holder.ErrDead) {
		t.Errorf("given up with %v", err)
	}
	if !e.Owes() {
		t.Error("no later holder would end the connections")
	}
}

// TestSilentAgain: a holder that is silent again before it has ended the connections of
// revoked clients ends them when it continues.
func TestSilentAgain(t *testing.T) {
	s := stand(t, time.Hour)
	e := holder.NewEnforcer(s.conn, ssh)
	events, _ := s.run(t.Context())
	silent := func() {
		t.Helper()
		s.conn.Ping()
		s.take()
		if got := <-events; got != "silent" {
			t.Fatalf("got %s", got)
		}
	}
	continues := func() {
		t.Helper()
		s.send(isDone)
		if got := <-events; got != "continues" {
			t.Fatalf("got %s", got)
		}
	}
	silent()
	one(e, revokes(peer("192.0.2.9"), true)) // the kernel has ended its lease
	continues()
	silent()
	if err := e.Resume(); !errors.Is(err, holder.ErrSilent) || !e.Owes() {
		t.Errorf("%v; owed: %t", err, e.Owes())
	}
	continues()
	done := make(chan error, 1)
	go func() { done <- e.Resume() }()
	if got := s.take(); got[0] != anOpen {
		t.Errorf("got %x, want a change", got)
	}
	s.send(isDone)
	if err := <-done; err != nil || e.Owes() {
		t.Errorf("%v; owed: %t", err, e.Owes())
	}
}

// TestSilentHolderAndReload: a holder that has read its configuration again, and is silent
// when the reload is decided, gets the decision when it continues, before any other request.
func TestSilentHolderAndReload(t *testing.T) {
	s := stand(t, time.Hour)
	events, _ := s.run(t.Context())
	for _, commit := range []bool{true, false} {
		type reread struct {
			settle func(bool) error
			err    error
		}
		read := make(chan reread, 1)
		go func() {
			settle, err := s.conn.Reread(nil)
			read <- reread{settle, err}
		}()
		s.take()
		s.send(isDone)
		r := <-read
		if r.err != nil {
			t.Fatal(r.err)
		}
		s.conn.Ping()
		s.take()
		<-events
		if err := r.settle(commit); err != nil {
			t.Errorf("settle: %v", err)
		}
		s.send(isDone) // of the ping
		want := aCommit
		if !commit {
			want = anAbort
		}
		if got := s.take(); !slices.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
		s.send(isDone)
		if got := <-events; got != "continues" {
			t.Errorf("got %s", got)
		}
	}
}

// TestSilentHolderHasTheResult: a result that takes long comes when a silent holder continues.
// A holder that still has one would refuse to begin another.
func TestSilentHolderHasTheResult(t *testing.T) {
	s := stand(t, time.Hour)
	events, _ := s.run(t.Context())
	type result struct {
		connected []bool
		err       error
	}
	results := make(chan result, 1)
	go func() {
		connected, err := s.conn.Connected(t.Context(), []access.Change{revokes(peer("192.0.2.1"), false)})
		results <- result{connected, err}
	}()
	s.take()
	s.send(isDone)
	for {
		go s.conn.Ping() // it does nothing while the result is asked for
		if slices.Equal(s.take(), aPing) {
			break
		}
		s.send(isPending)
	}
	<-events
	select {
	case r := <-results:
		t.Fatalf("got %v, %v while the holder was silent", r.connected, r.err)
	case <-time.After(200 * time.Millisecond): // it asks several times in this time, usually
	}
	s.send(isDone)
	<-events
	if got := s.take(); !slices.Equal(got, aResult) {
		t.Errorf("got %x, want a request for the result", got)
	}
	s.send(isConnected)
	if r := <-results; r.err != nil || !slices.Equal(r.connected, []bool{true}) {
		t.Errorf("got %v, %v", r.connected, r.err)
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
