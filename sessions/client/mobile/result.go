package mobile

import (
	"context"
	"errors"
	"fmt"

	"sallyport/sessions/client"
)

// Result is the result of Knock or Stay.
type Result struct {
	r      client.Result
	reason string
	text   string
	hints  string
}

// The reasons that only this package has. The others are those of package client.
const (
	ReasonCancelled = "cancelled" // by Cancel
	ReasonNonces    = "nonces"    // the record of nonces cannot be used: Text has the cause
	ReasonProfile   = "profile"   // this device cannot use the profile: Text has the cause
)

func resultOf(r client.Result, err error) *Result {
	if err != nil {
		return failed(err)
	}
	return opened(r)
}

func opened(r client.Result) *Result {
	return &Result{r: r, reason: string(r.Reason()), text: textOf(r)}
}

func failed(err error) *Result {
	result := &Result{reason: reasonOf(err), text: err.Error()}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		result.hints = hinted.Hint()
	}
	return result
}

func textOf(r client.Result) string {
	switch {
	case r.Watched:
		return fmt.Sprintf("open: %s", r.Service)
	case r.SingleUse:
		return fmt.Sprintf("open for one connection: %s", r.Service)
	case r.Service.IsValid():
		return fmt.Sprintf("sent, for %s", r.Service)
	}
	return fmt.Sprintf("sent to %s", r.Address)
}

func reasonOf(err error) string {
	var exhausted *client.ExhaustedError
	var damaged *client.DamagedError
	var file *client.NonceError
	reason := client.ReasonOf(err)
	switch {
	case errors.Is(err, context.Canceled):
		return ReasonCancelled
	case reason != "":
		return string(reason)
	case errors.As(err, &exhausted), errors.As(err, &damaged), errors.As(err, &file):
		return ReasonNonces
	}
	return ReasonProfile
}

// Opened reports whether the service is open.
func (r *Result) Opened() bool { return r.r.Watched || r.r.SingleUse }

// Sent reports whether the knocks were sent and nothing can confirm that they opened the
// service: it is a UDP service, or the profile names none. The app may use the service.
func (r *Result) Sent() bool { return !r.Opened() && r.r.Address.IsValid() }

// Reason returns why the service did not open, or what to know of one that did, as a
// word; empty: it opened, and that is all. Later versions may add words.
func (r *Result) Reason() string { return r.reason }

// Text returns the result as a sentence in English.
func (r *Result) Text() string { return r.text }

// Hints returns the likely causes and what to do, in English, one on each line.
func (r *Result) Hints() string { return r.hints }

// Host returns the address of the service; empty: the profile names none.
func (r *Result) Host() string { return text(r.r.Service.Addr()) }

// Port returns the port of the service; 0: the profile names none.
func (r *Result) Port() int { return int(r.r.Service.Port()) }

// Others returns at how many other addresses the service is open, too: those of the other
// address family.
func (r *Result) Others() int { return len(r.r.Also) }

// Other returns the address at a place from 0; empty: there is none.
func (r *Result) Other(i int) string {
	if i < 0 || i >= len(r.r.Also) {
		return ""
	}
	return text(r.r.Also[i].Addr())
}

// SingleUse reports whether the service accepts only one connection, and Knock has not
// made it.
func (r *Result) SingleUse() bool { return r.r.SingleUse }

// Attempts returns how many attempts were necessary; 0: the service did not open.
func (r *Result) Attempts() int { return r.r.Attempts }
