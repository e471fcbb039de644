package mobile

import (
	"fmt"
	"net/netip"
	"time"

	"sallyport/sessions/client"
)

// Listener receives the steps of Knock and Stay, one at a time. Its method must not block.
type Listener interface {
	OnStep(step *Step)
}

// Step is a step of Knock or Stay.
type Step struct {
	kind, address, text string
	attempt, of         int
	result              *Result
}

// The kinds of steps. Later versions may add some.
const (
	StepResolved   = "resolved"   // the addresses of the server are known
	StepSent       = "sent"       // the knocks of an attempt were sent
	StepRequested  = "requested"  // the request of an exchange was sent
	StepAnswered   = "answered"   // the challenge has come, and the response was sent
	StepUnanswered = "unanswered" // an attempt failed
	StepWaiting    = "waiting"    // the last attempt waits for the next minute's ports
	StepMoved      = "moved"      // the service opened after the nonces were moved ahead

	// Of Stay only.
	StepOpened = "opened" // a knock has succeeded
	StepFailed = "failed" // a knock has failed, and another one follows
	StepMoving = "moving" // the network has changed, or the device has slept; a knock follows
)

// Kind returns the kind of the step, one of the constants.
func (s *Step) Kind() string { return s.kind }

// Attempt returns the number of the attempt, from 1; 0: the step belongs to none.
func (s *Step) Attempt() int { return s.attempt }

// Of returns the maximum number of attempts; 0: it is not known.
func (s *Step) Of() int { return s.of }

// Address returns the address of the server to which the packets went; empty: the step
// belongs to none.
func (s *Step) Address() string { return s.address }

// Result returns the result of a knock of Stay; null: the step is not its end.
func (s *Step) Result() *Result { return s.result }

// Text returns the step as a sentence in English, for a log.
func (s *Step) Text() string { return s.text }

// stepOf returns the step of an event; nil: a newer package has an event that this one
// does not know.
func stepOf(e client.Event) *Step {
	switch e := e.(type) {
	case client.Resolved:
		return &Step{kind: StepResolved, text: fmt.Sprintf("%s has %d addresses", e.Server, len(e.Addresses))}
	case client.Sent:
		return &Step{
			kind: StepSent, attempt: e.Attempt, of: e.Of, address: text(e.Address),
			text: fmt.Sprintf("attempt %d: %d knocks to %s", e.Attempt, len(e.Packets), e.Address),
		}
	case client.Requested:
		return &Step{
			kind: StepRequested, attempt: e.Attempt, of: e.Of, address: text(e.Address),
			text: fmt.Sprintf("attempt %d: a request of %d packets to %s", e.Attempt, e.Packets, e.Address),
		}
	case client.Answered:
		return &Step{kind: StepAnswered, text: fmt.Sprintf("the server sees this device as %s", e.Public)}
	case client.Unanswered:
		return &Step{
			kind: StepUnanswered, attempt: e.Attempt, address: text(e.Address),
			text: fmt.Sprintf("attempt %d at %s opened nothing", e.Attempt, e.Address),
		}
	case client.Waiting:
		return &Step{kind: StepWaiting, text: fmt.Sprintf("waiting %s for the next minute", e.For.Round(time.Second))}
	case client.Moved:
		return &Step{kind: StepMoved, text: "the server had accepted higher nonces: each device needs its own profile"}
	}
	return nil
}

// text returns the text of an address; empty: it is not valid.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
