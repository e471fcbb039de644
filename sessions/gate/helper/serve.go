package helper

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
)

// Firewall is what the holder changes. It is *firewall.Table. Apply leaves
// connections alone: to end them is Disconnect's.
type Firewall interface {
	access.Enforcer
	// OpenKnockPorts has UDP ports take knocks for a time, from now.
	OpenKnockPorts(ports []uint16, lasts time.Duration) error
	// Disconnect ends what is connected from the peers of the changes to their
	// services. It may take seconds, and run beside Apply.
	Disconnect([]access.Change) error
}

// Config is what Serve needs. Exit may be nil, and so may Schedule: then no port
// may take knocks.
type Config struct {
	Policy Policy
	Digest Digest // of what this process has read: see DigestOf
	// Claim returns the firewall, closed. It is called when a server begins that
	// has read the same configuration, and not before: a server that does not
	// get its state directory has touched nothing.
	Claim func() (Firewall, error)
	// Schedule reads from which ports knocks may come, whenever a server begins
	// or reloads.
	Schedule func() (Schedule, error)
	// Exit is called after a server has stopped in order and everything is
	// closed.
	Exit  func() error
	Clock clock.Clock
	Log   *slog.Logger
}

// Claimed is the Config.Claim of a firewall that is there.
func Claimed(f Firewall) func() (Firewall, error) {
	return func() (Firewall, error) { return f, nil }
}

// Serve carries out what the server asks for over the socket, until its end
// closes. Then it closes everything. It reports whether the server stopped in
// order. What goes wrong after an answer is logged.
func Serve(socket *os.File, cfg Config) (ordered bool, err error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return false, fmt.Errorf("take over the socket: %w", err)
	}
	s := session{Config: cfg, conn: conn}
	return s.serve(time.Time{})
}

// session is one server's time with the holder.
type session struct {
	Config
	conn     net.Conn
	firewall Firewall // nil until the server has begun
	cuts     cutter
	look     <-chan seen // nil: nothing was looked for
	current  Schedule
	next     Schedule // read again, and not yet in force
}

// serve hears a server until its end, or its orderly stop. The first request has
// to come by a time; zero: whenever.
func (s *session) serve(first time.Time) (ordered bool, err error) {
	defer s.conn.Close()
	if err := s.Policy.validate(); err != nil {
		return false, fmt.Errorf("the policy: %w", err)
	}
	defer func() {
		if s.firewall == nil {
			return
		}
		if !ordered {
			err = errors.Join(err, s.firewall.Close())
		}
		s.cuts.end()
	}()
	if err := s.conn.SetReadDeadline(first); err != nil {
		return false, err
	}
	buffer := make([]byte, maxRequest+1)
	for {
		n, err := s.conn.Read(buffer)
		// An end of file, or a message without a byte, which nobody sends.
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("hear the server: %w", err)
		}
		began := s.firewall != nil
		reply, cut, exit := s.handle(buffer[:n])
		if exit && s.firewall != nil {
			// The last word is an answer: closed, or why not.
			if err := s.exit(); err != nil {
				send(s.conn, refusal(err))
				return false, err
			}
			return true, send(s.conn, reply)
		}
		if err := send(s.conn, reply); err != nil {
			return false, err
		}
		switch {
		case s.firewall == nil:
			return false, nil // what does not begin is over
		case !began:
			if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
				return false, err
			}
		}
		if len(cut) > 0 {
			s.cuts.add(cut)
		}
	}
}

// exit closes everything after the server's orderly stop.
func (s *session) exit() error {
	if err := s.firewall.Close(); err != nil || s.Exit == nil {
		return err
	}
	return s.Exit()
}

// handle deals with one request, but for ending connections, which takes longer
// than the server waits: those of cut are still to end.
func (s *session) handle(b []byte) (reply []byte, cut []access.Change, exit bool) {
	now := s.Clock.Boot()
	r, err := parse(b, now)
	if err != nil {
		return refusal(err), nil, false
	}
	if s.firewall == nil || r.kind == kindBegin {
		return s.begin(r), nil, false
	}
	switch r.kind {
	case kindExit:
		return results(nil), nil, true
	case kindReread:
		next, err := s.read()
		if err != nil {
			return refusal(err), nil, false
		}
		s.next = next
		return results(nil), nil, false
	case kindSettle:
		if r.commit && s.next.Ports != nil {
			s.current = s.next
		}
		s.next = Schedule{}
		return results(nil), nil, false
	case kindDisconnect:
		return results(nil), r.changes, false
	case kindLook:
		return s.beginLook(r.changes), nil, false
	case kindSeen:
		return s.endLook(), nil, false
	case kindKnockPorts:
		if err := s.Policy.checkPorts(r.ports, r.lasts, s.Clock.Wall(), s.current, s.next); err != nil {
			return refusal(err), nil, false
		}
		if err := s.firewall.OpenKnockPorts(r.ports, r.lasts); err != nil {
			return refusal(err), nil, false
		}
		return results(nil), nil, false
	}
	errs := s.apply(r.changes, now)
	for i, c := range r.changes {
		if c.Cut && errs[i] == nil {
			cut = append(cut, c)
		}
	}
	return results(errs), cut, false
}

// begin answers the first request. Unless it begins, nothing is touched.
func (s *session) begin(r request) []byte {
	switch {
	case r.kind != kindBegin:
		return refusal(errors.New("a request before the first one"))
	case r.version != Version:
		return []byte{byte(answerVersion), Version}
	case s.firewall != nil:
		return refusal(errors.New("it has begun before"))
	case r.digest != s.Digest:
		return append([]byte{byte(answerOther)}, s.Digest[:]...)
	}
	f, err := s.Claim()
	if err != nil {
		return refusal(err)
	}
	s.firewall, s.cuts = f, newCutter(f, s.Log)
	if s.current, err = s.read(); err != nil {
		// The server may serve once that is mended: until then nobody can knock.
		s.Log.Error("failed to read the knock port schedule; knock ports closed", "error", err)
	}
	return []byte{byte(answerReady), Version}
}

func (s *session) read() (Schedule, error) {
	if s.Schedule == nil {
		return Schedule{}, nil
	}
	return s.Schedule()
}

// apply carries out those changes that are in line with the configuration. It
// returns the error of each, or nil.
func (s *session) apply(changes []access.Change, now time.Time) []error {
	errs := make([]error, len(changes))
	may := make([]access.Change, 0, len(changes))
	of := make([]int, 0, len(changes)) // the place of each
	for i, c := range changes {
		if err := s.Policy.checkChange(c, now); err != nil {
			errs[i] = fmt.Errorf("%w: %w", ErrRefused, err)
			continue
		}
		may, of = append(may, c), append(of, i)
	}
	if len(may) == 0 {
		return errs
	}
	for i, err := range s.firewall.Apply(may) {
		errs[of[i]] = err
	}
	return errs
}

func send(conn net.Conn, message []byte) error {
	// Deadlines go by the timers of this process, and so by its own clock.
	if err := conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := conn.Write(message); err != nil {
		return fmt.Errorf("answer the server: %w", err)
	}
	return nil
}
