package holder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// Tried is a service on trial, as the holder sees it.
type Tried struct {
	Service access.ServiceID // firewall.StealthTrial: stealth
	Left    time.Duration    // 0: the trial is over, and anyone reaches the service
}

// TrialState is what is on trial, and to which services clients have connected since, by
// connections that began by a grant.
type TrialState struct {
	Tried   []Tried
	Entered []access.ServiceID
}

// Trials are the trials of a firewall. The holder asks one at a time.
type Trials interface {
	// State reads the kernel's connections, which may take a second: only a command of
	// the administrator asks for it.
	State() (TrialState, error)
	// Begin reads the configuration again, and puts in force what it newly hides by next: on
	// trial for a time from now on, if asked is set and not 0. If it fails, nothing is
	// changed. Undo, which may be nil, takes that back.
	Begin(next *firewall.Silence, asked *time.Duration) (undo func() error, err error)
	// Confirm closes for good what the record of trials has as confirmed. The server has
	// written that before.
	Confirm() error
}

const (
	triedSize = 8 + 4 // service, milliseconds
	enterSize = 8
)

var errNoTrial = errors.New("nothing is on trial")

// trialSize is the size of a time for which a trial is asked: milliseconds.
const trialSize = 4

// maySetTrial reports whether a request of the kind may ask for a trial.
func (k kind) maySetTrial() bool { return k == kindReread || k == kindReload }

func parseAsked(b []byte) *time.Duration {
	if len(b) == 0 {
		return nil
	}
	d := time.Duration(binary.BigEndian.Uint32(b)) * time.Millisecond
	return &d
}

// appendAsked appends a request that may ask for a trial.
func appendAsked(b []byte, k kind, asked *time.Duration) ([]byte, error) {
	b = append(b, byte(k))
	if asked == nil {
		return b, nil
	}
	ms, err := milliseconds(*asked)
	return binary.BigEndian.AppendUint32(b, ms), err
}

// reread reads the schedule again, and puts in force what the configuration newly hides.
func (s *session) reread(asked *time.Duration) error {
	next, err := s.readSchedule()
	if err != nil {
		return err
	}
	if s.Trials == nil && asked != nil {
		return errNoTrial
	}
	if s.Trials != nil && next.Silence != nil {
		if s.undoTrial, err = s.Trials.Begin(next.Silence, asked); err != nil {
			return err
		}
	}
	s.next = next
	return nil
}

// takeBack takes back what reread has put in force, if anything.
func (s *session) takeBack() error {
	undo := s.undoTrial
	s.undoTrial = nil
	if undo == nil {
		return nil
	}
	return undo()
}

func (s *session) trial() []byte {
	if s.Trials == nil {
		return []byte{byte(answerTrial), 0}
	}
	state, err := s.Trials.State()
	if err != nil {
		return refusal(err)
	}
	return appendTrial([]byte{byte(answerTrial)}, state)
}

func (s *session) confirm() []byte {
	if s.Trials == nil {
		return refusal(errNoTrial)
	}
	if err := s.Trials.Confirm(); err != nil {
		return refusal(err)
	}
	return results(nil)
}

// appendTrial appends the number of services on trial, these, and those with a
// connection. A table has fewer services than a byte can count.
func appendTrial(b []byte, state TrialState) []byte {
	b = append(b, byte(len(state.Tried)))
	for _, of := range state.Tried {
		ms, err := milliseconds(max(of.Left, 0))
		if err != nil {
			ms = ^uint32(0) // longer than any trial
		}
		b = binary.BigEndian.AppendUint32(append(b, of.Service[:]...), ms)
	}
	for _, id := range state.Entered {
		b = append(b, id[:]...)
	}
	return b
}

// parseTrial parses the reply to a question for what is on trial.
func parseTrial(b []byte) (state TrialState, err error) {
	if len(b) > 0 && answer(b[0]) == answerRefused {
		_, err := parseReply(b, 0)
		return state, err
	}
	if len(b) < 2 || answer(b[0]) != answerTrial {
		return state, errReply
	}
	n := int(b[1])
	if b = b[2:]; n > firewall.MaxPorts+1 || len(b) < n*triedSize || (len(b)-n*triedSize)%enterSize != 0 {
		return state, errReply
	}
	for range n {
		state.Tried = append(state.Tried, Tried{access.ServiceID(b), time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Millisecond})
		b = b[triedSize:]
	}
	for ; len(b) > 0; b = b[enterSize:] {
		state.Entered = append(state.Entered, access.ServiceID(b))
	}
	return state, nil
}

// Trial asks the holder what is on trial.
func (c *Conn) Trial() (TrialState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.current()
	if l == nil {
		return TrialState{}, ErrDead
	}
	b, err := l.call([]byte{byte(kindTrial)}, answerTime)
	if err != nil {
		return TrialState{}, err
	}
	state, err := parseTrial(b)
	if errors.Is(err, errReply) {
		err = l.fail(err)
	}
	if err != nil {
		return TrialState{}, fmt.Errorf("query what is on trial: %w", err)
	}
	return state, nil
}

// Confirm makes the holder close for good what the record of trials has as confirmed.
func (c *Conn) Confirm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.call([]byte{byte(kindConfirm)}, 0); err != nil {
		return fmt.Errorf("confirm the trial: %w", err)
	}
	return nil
}
