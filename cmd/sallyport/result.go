package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
)

// outcome is the result of knock --json, also if it is an error. Later versions may
// add fields.
type outcome struct {
	Opened    bool     `json:"opened"`            // the service answered
	Watched   bool     `json:"watched"`           // false: the client only sent, because it cannot or may not watch a service
	Sent      bool     `json:"sent,omitempty"`    // not watched: the knocks were sent, and no ICMP error contradicts
	Gateway   string   `json:"gateway,omitempty"` // of the profile, that has opened the service, or was tried first
	Address   string   `json:"address"`           // of the server, to which the packets went
	Service   string   `json:"service"`           // address and port that answered, or that the profile names; behind it /udp for UDP
	Also      []string `json:"also,omitempty"`    // others at which it is open too: of the other address family
	Attempts  int      `json:"attempts"`          // how many were made
	ElapsedMS int64    `json:"elapsed_ms"`
	SingleUse bool     `json:"one_connection,omitempty"` // the service accepts one connection, not yet used
	Carrier   string   `json:"carrier,omitempty"`        // "https" or "dns": what carried the exchange; missing: packets
	Untried   []string `json:"untried,omitempty"`        // not watched: other carriers that may open the service, if the network drops packets
	Bind      string   `json:"bind,omitempty"`           // "connection": only connect, run and forward can connect; missing: any program
	// The service answered a connection that began before the knock: it is not hidden,
	// or open for this address already. Missing: it did not, or the client does not know.
	OpenBefore bool `json:"open_before,omitempty"`
	Rejected   bool `json:"knocks_rejected,omitempty"` // there were ICMP errors for knocks of the last attempt
	// Attempts of the challenge–response protocol in which packets were lost on the way:
	LostRequests  int    `json:"lost_requests,omitempty"`  // no challenge came
	LostResponses int    `json:"lost_responses,omitempty"` // a challenge came, and the response opened nothing
	Error         string `json:"error,omitempty"`
	// Reason is one word, of those of client.Reason: why the service did not open, or what
	// to know of one that did. Missing: there is nothing to know.
	Reason   string   `json:"reason,omitempty"`
	Certain  []string `json:"certain,omitempty"` // what the client saw
	Likely   []string `json:"likely,omitempty"`  // what that means, the likeliest first
	Hints    []string `json:"hints,omitempty"`   // certain, likely, and what to do
	Hint     *string  `json:"hint,omitempty"`    // as in the errors of all commands: the hints, one on each line; missing: no error
	ExitCode int      `json:"exit_code,omitempty"`
}

// printJSON prints the result, or the error, as one object. For an error, it returns
// an exitError, so that the error is not printed again.
func printJSON(ctx context.Context, env cli.Env, r client.Result, bind client.Bind, unconfirmed bool, err error, elapsed time.Duration) error {
	out := outcome{Gateway: r.Gateway, Attempts: r.Attempts, ElapsedMS: elapsed.Milliseconds()}
	if err == nil {
		out.Reason = string(r.Reason())
		if bind == client.BindConnection {
			out.Bind = string(bind)
		}
		if unconfirmed {
			out.ExitCode = unconfirmedCode
		}
		if r.Carrier != client.CarrierPackets {
			out.Carrier = string(r.Carrier)
		}
		for _, by := range r.Untried {
			out.Untried = append(out.Untried, string(by))
		}
		out.SingleUse, out.OpenBefore, out.Rejected = r.SingleUse, r.OpenBefore, r.Rejected
		out.LostRequests, out.LostResponses = r.Lost.Requests, r.Lost.Responses
		out.Watched, out.Opened = r.Watched, r.Watched
		out.Sent = !r.Watched && !r.SingleUse
		out.Address = r.Address.String()
		if r.Service.IsValid() {
			out.Service = serviceText(r)
		}
		for _, service := range r.Also {
			out.Also = append(out.Also, service.String())
		}
	} else {
		out.setError(ctx, err)
	}
	if printErr := env.Out().JSON(out); printErr != nil {
		return errors.Join(err, fmt.Errorf("print the result: %w", printErr))
	}
	if out.ExitCode != cli.Done {
		return &exitError{out.ExitCode}
	}
	return nil
}

// unconfirmedCode is the exit code of knock if the knocks were sent, and nothing can
// confirm that they opened the service.
const unconfirmedCode = 3

func (out *outcome) setError(ctx context.Context, err error) {
	var misuse interface{ Misuse() }
	var hinted interface{ Hint() string }
	var offline *client.OfflineError
	out.Error, out.ExitCode, out.Hint = err.Error(), cli.Failed, new(string)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		out.Error, out.ExitCode = "interrupted", cli.Interrupted
		return
	case errors.As(err, &misuse):
		out.ExitCode = cli.Misused
	case errors.As(err, &offline):
		out.Watched, out.Attempts = offline.Service.IsValid(), offline.Attempts
		out.Certain, out.Likely, out.Hints = offline.Certain, offline.Likely, offline.Hints
	}
	out.Reason = string(client.ReasonOf(err))
	if errors.As(err, &hinted) {
		*out.Hint = hinted.Hint()
	}
}

// serviceText returns the address and port of a result's service.
func serviceText(r client.Result) string {
	if r.UDP {
		return r.Service.String() + "/udp"
	}
	return r.Service.String()
}

// exitError ends the program with an exit code, and without an error message.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("ended with exit code %d", e.code) }

// ExitCode returns the exit code. Package cli prints no error that has this method.
func (e *exitError) ExitCode() int { return e.code }
