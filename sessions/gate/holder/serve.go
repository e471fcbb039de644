package holder

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
	"sallyport/sessions/gate/firewall"
)

// Firewall is the firewall that the holder changes, a *firewall.Table. Apply
// ignores connections: Disconnect ends them.
type Firewall interface {
	access.Enforcer
	// OpenKnockPorts opens UDP ports for knocks for a time, from now.
	OpenKnockPorts(ports []uint16, lasts time.Duration) error
	// SetTrusted replaces the peers that services trust. It does not affect grants.
	SetTrusted(map[access.ServiceID]firewall.Trusted) error
	// SetSilence changes how strangers are answered. It does not affect grants.
	SetSilence(*firewall.Silence) error
	// Disconnect ends connections from the peers of the changes to their
	// services. It may take seconds, and run concurrently with Apply.
	Disconnect([]access.Change) error
}

// Config configures Serve. Exit may be nil, and so may Schedule: then no knock
// port may open.
type Config struct {
	Policy Policy
	Digest Digest // of this process's configuration: see DigestOf
	// Claim returns the firewall, closed. It is called when a server begins
	// that has read the same configuration, and not before: a server that
	// cannot lock its state directory does not touch the firewall.
	Claim func() (Firewall, error)
	// Schedule reads the schedule of the knock ports, and the trusted peers,
	// whenever a server begins or reloads.
	Schedule func() (Schedule, error)
	// Shield loads the program at the network driver, for a server that has begun. The
	// session closes it when the server has ended. nil: this process cannot.
	Shield func(ShieldRequest) (Shield, error)
	// Trials is nil if nothing can be on trial.
	Trials Trials
	// Sandbox is what is in force in this process, as JSON for the server.
	Sandbox []byte
	// Exit is called after an orderly stop of a server, when everything is
	// closed.
	Exit  func() error
	Clock clock.Clock
	Log   *slog.Logger
}

// Claimed returns a Config.Claim for an existing firewall.
func Claimed(f Firewall) func() (Firewall, error) {
	return func() (Firewall, error) { return f, nil }
}

// Serve carries out the server's requests from the socket, until the server
// closes it. Then it closes everything. It reports whether the server stopped
// in order. Errors after a reply are logged.
func Serve(socket *os.File, cfg Config) (orderly bool, err error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return false, fmt.Errorf("take over the socket: %w", err)
	}
	s := session{Config: cfg, conn: conn}
	return s.serve(nil)
}

// session is the session of one server.
type session struct {
	Config
	conn        net.Conn
	firewall    Firewall // nil until the server has begun
	disconnects disconnector
	query       <-chan queryResult // nil: no query
	shield      shielding
	current     Schedule
	next        Schedule // read again, not yet applied
	refusals    refusals
	failed      bool // the reply is one of failure
	trustFailed bool // the firewall has earlier trusted peers than current
	undoTrial   func() error
}

// serve serves a server until the connection ends, or its orderly stop. First is a request
// that was read already; nil: none was.
func (s *session) serve(first []byte) (orderly bool, err error) {
	defer s.conn.Close()
	if err := s.Policy.validate(); err != nil {
		return false, fmt.Errorf("the policy: %w", err)
	}
	defer func() {
		if s.firewall == nil {
			return
		}
		// A driver may take seconds to detach the shield, and open services must not wait
		// for it.
		if !orderly {
			err = errors.Join(err, s.firewall.Close())
		}
		err = errors.Join(err, s.shield.close())
		s.disconnects.wait()
	}()
	buffer := make([]byte, maxRequest+1)
	for {
		n, err := copy(buffer, first), error(nil)
		if first == nil {
			n, err = s.conn.Read(buffer)
		}
		first = nil
		// An end of file, or an empty message, which a server never sends.
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read a request: %w", err)
		}
		reply, cut, exit := s.handle(buffer[:n])
		s.noteReply(reply)
		arrays := s.shield.granted
		s.shield.granted = nil
		if exit && s.firewall != nil {
			// The last message is a reply: closed, or why not.
			if err := s.exit(); err != nil {
				send(s.conn, refusal(err))
				return false, err
			}
			return true, send(s.conn, reply)
		}
		if err := send(s.conn, reply, arrays...); err != nil {
			return false, err
		}
		if s.firewall == nil {
			return false, nil // the session has not begun
		}
		if len(cut) > 0 {
			s.disconnects.add(cut)
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

// handle carries out one request, except for ending the connections of cut:
// that takes longer than the server waits.
func (s *session) handle(b []byte) (reply []byte, cut []access.Change, exit bool) {
	now := s.Clock.Boot()
	r, err := parse(b, now)
	if err != nil {
		return refusal(err), nil, false
	}
	if s.firewall == nil || r.kind == kindBegin {
		return s.begin(r), nil, false
	}
	if s.trustFailed {
		s.retryTrust()
	}
	switch r.kind {
	case kindExit:
		return results(nil), nil, true
	case kindReread:
		if err := s.reread(r.trial); err != nil {
			return refusal(err), nil, false
		}
		return results(nil), nil, false
	case kindReload:
		return refusal(errNotAlone), nil, false
	case kindCommit:
		next := s.next
		s.next = Schedule{}
		if !r.commit {
			if err := s.takeBack(); err != nil {
				s.Log.Error("failed to undo the trial of an aborted reload", "error", err)
			}
			return results(nil), nil, false
		}
		s.undoTrial = nil
		if next.Ports == nil {
			return results(nil), nil, false
		}
		s.current = next
		if err := s.trust(); err != nil {
			return refusal(err), nil, false
		}
		return results(nil), nil, false
	case kindDisconnect:
		return results(nil), r.changes, false
	case kindQuery:
		return s.beginQuery(r.changes), nil, false
	case kindQueryResult:
		return s.queryReply(), nil, false
	case kindShield:
		return s.beginShield(r.shield), nil, false
	case kindShieldResult:
		return s.shieldReply(), nil, false
	case kindShieldState:
		return s.shieldState(), nil, false
	case kindPing:
		return results(nil), nil, false
	case kindTrial:
		return s.trial(), nil, false
	case kindConfirm:
		return s.confirm(), nil, false
	case kindSandbox:
		return s.sandboxReply(), nil, false
	case kindKnockPorts:
		if err := s.Policy.checkPorts(r.ports, r.lasts, s.Clock.Wall(), s.current, s.next); err != nil {
			return refusal(err), nil, false
		}
		if err := s.firewall.OpenKnockPorts(r.ports, r.lasts); err != nil {
			return s.failure(err), nil, false
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

// begin answers the first request. If it returns without a firewall, it has
// changed nothing.
func (s *session) begin(r request) []byte {
	switch {
	case r.kind != kindBegin:
		return refusal(errors.New("expected a begin request first"))
	case r.version != Version:
		return []byte{byte(answerVersion), Version}
	case s.firewall != nil:
		return refusal(errors.New("the session has already begun"))
	case r.digest != s.Digest:
		return append([]byte{byte(answerOtherConfiguration)}, s.Digest[:]...)
	}
	f, err := s.Claim()
	if err != nil {
		return refusal(err)
	}
	s.firewall, s.disconnects = f, newDisconnector(f, s.Log)
	switch s.current, err = s.readSchedule(); {
	case err != nil:
		// The server may continue. Until a reload fixes the error, no knock
		// port opens.
		s.Log.Error("failed to read the knock port schedule; knock ports closed", "error", err)
	case s.current.Ports != nil:
		s.trust()
	}
	return []byte{byte(answerReady), Version}
}

// trust puts the trusted peers and the silence in force that were read last. If that
// fails, each later request tries it again.
func (s *session) trust() error {
	err := s.firewall.SetTrusted(s.current.Trusted)
	if s.current.Silence != nil {
		err = errors.Join(err, s.firewall.SetSilence(s.current.Silence))
	}
	if err != nil && !s.trustFailed {
		s.Log.Error("failed to change the settings of the firewall; retrying", "error", err)
	}
	s.trustFailed = err != nil
	return err
}

// retryTrust is trust with the latest settings: "firewall hold" may have put these in
// force since, by SIGHUP, and a peer that they lack must not come back.
func (s *session) retryTrust() {
	if latest, err := s.readSchedule(); err == nil && latest.Ports != nil {
		s.current.Trusted, s.current.Silence = latest.Trusted, latest.Silence
	}
	s.trust()
}

func (s *session) readSchedule() (Schedule, error) {
	if s.Schedule == nil {
		return Schedule{}, nil
	}
	return s.Schedule()
}

// apply carries out the changes that the configuration allows. It returns the
// error of each, or nil.
func (s *session) apply(changes []access.Change, now time.Time) []error {
	errs := make([]error, len(changes))
	allowed := make([]access.Change, 0, len(changes))
	places := make([]int, 0, len(changes)) // place of each in changes
	for i, c := range changes {
		if err := s.Policy.checkChange(c, now); err != nil {
			errs[i] = fmt.Errorf("%w: %w", ErrRefused, err)
			s.logRefused(err.Error())
			continue
		}
		allowed, places = append(allowed, c), append(places, i)
	}
	if len(allowed) == 0 {
		return errs
	}
	for i, err := range s.firewall.Apply(allowed) {
		errs[places[i]] = err
	}
	return errs
}

// send sends a message, with descriptors of files.
func send(conn net.Conn, message []byte, files ...*os.File) error {
	// Deadlines use the timers of this process, and so time.Now.
	if err := conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if err := write(conn, message, files); err != nil {
		return fmt.Errorf("reply to the server: %w", err)
	}
	return nil
}
