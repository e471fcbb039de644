package main

import (
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
	"sallyport/sessions/client/stay"
)

// stayEvent is a line of stay --json. Later versions may add fields.
type stayEvent struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`         // open, renewed, moving, failed or stopped
	Why   string    `json:"why,omitempty"` // of the knock: start, renewal, network, resume or retry
	// Of open and renewed:
	Address   string `json:"address,omitempty"`     // of the server, to which the packets went
	Service   string `json:"service,omitempty"`     // as in the result of knock
	Watched   bool   `json:"watched,omitempty"`     // the service answered
	OpenForMS int64  `json:"open_for_ms,omitempty"` // how long it stays open without a further knock; missing: not known
	// Of failed, as in the error of a command:
	Error   string   `json:"error,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Certain []string `json:"certain,omitempty"`
	Likely  []string `json:"likely,omitempty"`
	Hint    string   `json:"hint,omitempty"`
	RetryMS int64    `json:"retry_ms,omitempty"` // the pause before the next knock

	failure cli.Failure // of failed

	Lost int `json:"lost_events,omitempty"` // events before this one that were not printed, because they were not read in time
}

func failedEvent(e stay.Failed) stayEvent {
	f := cli.Explain(e.Err)
	out := stayEvent{
		Event: "failed", Why: string(e.Reason), Error: f.Error, Reason: f.Reason, Certain: f.Certain, Likely: f.Likely, Hint: f.Hint,
		RetryMS: e.Retry.Milliseconds(), failure: f,
	}
	if f.Reason == string(client.ReasonExpired) {
		out.failure.Error += "; the client tries again, in case its clock was wrong"
	} else {
		out.failure.Error += "; the client goes on to knock"
	}
	return out
}

// text returns the event for people; empty: only programs get it.
func (e stayEvent) text() string {
	switch e.Event {
	case "open":
		if e.Watched {
			return e.Service
		}
		return "sent to " + e.Address + ", and the client does not watch the service"
	case "moving":
		if e.Why == string(stay.Resume) {
			return "this computer has resumed from sleep"
		}
		return "the network has changed"
	}
	return ""
}
