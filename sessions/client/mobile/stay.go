package mobile

import (
	"fmt"

	"sallyport/sessions/client/stay"
)

// Stay keeps the service open until Cancel: it knocks again before the server closes the
// service, after a change of the network, and after the device has slept. After a
// failure it goes on, unless each further knock would fail, too: then it returns a result
// with the reason. The steps are those of Knock, and StepOpened, StepFailed and
// StepMoving. The error is that of a call while another one runs.
//
// A device that sleeps does not knock: on Android, call Stay in a foreground service.
func (k *Knocker) Stay() (*Result, error) {
	c, err := k.begin()
	if err != nil {
		return nil, err
	}
	defer c.end()
	select {
	case <-k.changed: // before this call
	default:
	}
	cfg := stay.Config{Sequence: c.sequence, Exchange: c.exchange, Changed: k.changed, Report: func(e stay.Event) {
		if s := stepOfStay(e); s != nil {
			c.report(s)
		}
	}}
	return failed(stay.Run(c.ctx, cfg)), nil
}

// NetworkChanged makes Stay knock soon. Call it when the system reports another network,
// for example in ConnectivityManager.NetworkCallback: an app may not watch the network by
// itself on every system.
func (k *Knocker) NetworkChanged() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// stepOfStay returns the step of an event; nil: a newer package has an event that this one
// does not know.
func stepOfStay(e stay.Event) *Step {
	switch e := e.(type) {
	case stay.Opened:
		return &Step{kind: StepOpened, result: opened(e.Result), text: fmt.Sprintf("%s (%s)", textOf(e.Result), e.Reason)}
	case stay.Failed:
		return &Step{kind: StepFailed, result: failed(e.Err), text: fmt.Sprintf("%v; the next knock follows in %s", e.Err, e.Retry)}
	case stay.Moving:
		return &Step{kind: StepMoving, text: "the network has changed, or the device has slept"}
	}
	return nil
}
