package holder

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// TestTrialReply: a state arrives as it was sent; a malformed reply, and a refusal, are
// errors.
func TestTrialReply(t *testing.T) {
	ssh, db := access.ID("ssh"), access.ID("db")
	for _, state := range []TrialState{
		{}, {Tried: []Tried{{ssh, 5 * time.Minute}}},
		{[]Tried{{ssh, 0}, {firewall.StealthTrial, 24 * time.Hour}}, []access.ServiceID{ssh, db}},
	} {
		b := appendTrial([]byte{byte(answerTrial)}, state)
		if got, err := parseTrial(b); err != nil || !reflect.DeepEqual(got, state) {
			t.Errorf("%+v, %v, want %+v", got, err, state)
		}
		for n := range b {
			if got, err := parseTrial(b[:n]); err == nil && reflect.DeepEqual(got, state) {
				t.Errorf("%d of %d bytes are the same state", n, len(b))
			}
		}
		if _, err := parseTrial(append(b, 0)); !errors.Is(err, errReply) {
			t.Errorf("one byte more: %v", err)
		}
	}
	if _, err := parseTrial([]byte{byte(answerTrial), firewall.MaxPorts + 2}); !errors.Is(err, errReply) {
		t.Errorf("too many services: %v", err)
	}
	if _, err := parseTrial([]byte{byte(answerDone)}); !errors.Is(err, errReply) {
		t.Errorf("another answer: %v", err)
	}
	if _, err := parseTrial(refusal(errors.New("no"))); !errors.Is(err, ErrRefused) {
		t.Errorf("a refusal: %v", err)
	}
}

// fakeTrials counts confirmations, and refuses them after the first.
type fakeTrials struct {
	state     TrialState
	confirmed int
}

func (f *fakeTrials) State() (TrialState, error) { return f.state, nil }

func (f *fakeTrials) Begin(*firewall.Silence, *time.Duration) (func() error, error) { return nil, nil }

func (f *fakeTrials) Confirm() error {
	if f.confirmed++; f.confirmed > 1 {
		return errNoTrial
	}
	return nil
}

// TestTrialRequests: a session asks its Trials. Without them, nothing is on trial, and
// nothing can be confirmed.
func TestTrialRequests(t *testing.T) {
	state := TrialState{Tried: []Tried{{access.ID("ssh"), time.Minute}}}
	of := &fakeTrials{state: state}
	s := session{Config: Config{Trials: of}}
	if got, err := parseTrial(s.trial()); err != nil || !reflect.DeepEqual(got, state) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseReply(s.confirm(), 0); err != nil || of.confirmed != 1 {
		t.Error(err)
	}
	if _, err := parseReply(s.confirm(), 0); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	none := session{}
	if got, err := parseTrial(none.trial()); err != nil || len(got.Tried) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseReply(none.confirm(), 0); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}
