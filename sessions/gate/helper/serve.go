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

// Firewall is what the helper changes. It is *firewall.Table. Apply leaves
// connections alone: to end them is Disconnect's.
type Firewall interface {
	access.Enforcer
	// OpenKnockPorts has UDP ports take knocks for a time, from now.
	OpenKnockPorts(ports []uint16, lasts time.Duration) error
	// Disconnect ends what is connected from the peers of the changes to their
	// services. It may take seconds, and run beside Apply.
	Disconnect([]access.Change) error
}

// Config is what Serve needs. All of it is required.
type Config struct {
	Policy   Policy
	Digest   Digest // of what this process has read: see DigestOf
	Firewall Firewall
	Clock    clock.Clock
	Log      *slog.Logger
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
	defer conn.Close()
	cuts := newCutter(cfg.Firewall, cfg.Log)
	defer cuts.end()
	defer func() { err = errors.Join(err, cfg.Firewall.Close()) }()
	if err := cfg.Policy.validate(); err != nil {
		return false, fmt.Errorf("the policy: %w", err)
	}
	if err := send(conn, append([]byte{byte(answerReady)}, cfg.Digest[:]...)); err != nil {
		return false, err
	}
	buffer := make([]byte, maxRequest+1)
	for {
		n, err := conn.Read(buffer)
		// An end of file, or a message without a byte, which nobody sends.
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return ordered, nil
		}
		if err != nil {
			return ordered, fmt.Errorf("hear the server: %w", err)
		}
		reply, cut, exit := cfg.handle(buffer[:n])
		ordered = ordered || exit
		if err := send(conn, reply); err != nil {
			return ordered, err
		}
		if len(cut) > 0 {
			cuts.add(cut)
		}
	}
}

// handle deals with one request, but for ending connections, which takes longer
// than the server waits: those of cut are still to end.
func (cfg Config) handle(b []byte) (reply []byte, cut []access.Change, exit bool) {
	now := cfg.Clock.Boot()
	r, err := parse(b, now)
	if err != nil {
		return refusal(err), nil, false
	}
	switch r.kind {
	case kindExit:
		return results(nil), nil, true
	case kindKnockPorts:
		if err := cfg.Policy.checkPorts(r.ports, r.lasts); err != nil {
			return refusal(err), nil, false
		}
		if err := cfg.Firewall.OpenKnockPorts(r.ports, r.lasts); err != nil {
			return refusal(err), nil, false
		}
		return results(nil), nil, false
	}
	errs := cfg.apply(r.changes, now)
	for i, c := range r.changes {
		if c.Cut && errs[i] == nil {
			cut = append(cut, c)
		}
	}
	return results(errs), cut, false
}

// apply carries out those changes that are in line with the configuration. It
// returns the error of each, or nil.
func (cfg Config) apply(changes []access.Change, now time.Time) []error {
	errs := make([]error, len(changes))
	may := make([]access.Change, 0, len(changes))
	of := make([]int, 0, len(changes)) // the place of each
	for i, c := range changes {
		if err := cfg.Policy.checkChange(c, now); err != nil {
			errs[i] = fmt.Errorf("%w: %w", errRefused, err)
			continue
		}
		may, of = append(may, c), append(of, i)
	}
	if len(may) == 0 {
		return errs
	}
	for i, err := range cfg.Firewall.Apply(may) {
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
