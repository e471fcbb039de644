package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
)

// The states of a change of the clients in the running server.
const (
	serverApplied = "applied"
	serverNone    = "none"    // no server runs: the change takes effect at the next start
	serverRefused = "refused" // the server continues without the change, or with a part of it
	serverUnknown = "unknown" // the server did not answer, or the wait was interrupted
)

// clientResult is the result of a command that changes a client, for programs.
// If the server has not applied the change, an error follows it.
type clientResult struct {
	Identifier string `json:"identifier"`
	Changed    bool   `json:"changed"`          // the list of clients
	Server     string `json:"server,omitempty"` // empty: the command does not ask the server
	Reason     string `json:"reason,omitempty"` // why the server has not applied it, or not all of it
	// Services are those that the client may open; null: all. Only of "allow".
	Services *[]string `json:"services,omitempty"`
	// Expires is from when on the client is refused. Only of "add" and "expire".
	Expires *time.Time `json:"expires,omitempty"`
	// PreviousUntil is how long the old secret stays valid. Only of "rotate".
	PreviousUntil *time.Time `json:"previous_until,omitempty"`
	// ProfileOutdated means that the client needs a new profile. Only of "allow" and "expire".
	ProfileOutdated bool     `json:"profile_outdated,omitempty"`
	Warnings        []string `json:"warnings,omitempty"`
	*profileResult
}

// setServer records what the server has done; err is that of applyChange.
func (r *clientResult) setServer(running bool, err error) {
	r.Server = serverState(running, err)
	if err != nil {
		r.Reason = err.Error()
	}
}

// serverState returns what the server has done; err is that of its request.
func serverState(running bool, err error) string {
	var refused *admin.RefusedError
	var partly *partlyRefusedError
	var holderGone *holderGoneError
	var other *notAppliedError
	switch {
	case errors.As(err, &other) && other.status.Unavailable:
		return serverUnknown // it applies the list when it reads it
	case errors.As(err, &refused), errors.As(err, &partly), errors.As(err, &other):
		return serverRefused
	case errors.As(err, &holderGone):
		return serverApplied // but the kernel may still accept the client's packets
	case err != nil:
		return serverUnknown
	case running:
		return serverApplied
	}
	return serverNone
}

// add adds a profile to the result.
func (r *clientResult) add(p *profileResult) {
	r.profileResult = p
	if p.note != "" {
		r.warn(p.note)
	}
}

// warn adds a warning to the result.
func (r *clientResult) warn(text string) { r.Warnings = append(r.Warnings, text) }

// printWarnings prints the warnings for people.
func (r *clientResult) printWarnings(env cli.Env) {
	for _, text := range r.Warnings {
		env.Err().Warning(text, "")
	}
}

// applyChange makes the running server, if there is one, apply a change of the
// clients, and waits. Change describes it in a few words, such as "client
// k7Qx is registered".
func applyChange(
	ctx context.Context, cfg *config.Config, change string, ask func(admin.Conn) error,
) (running bool, err error) {
	running, err = askServer(ctx, cfg, ask)
	if err != nil {
		err = fmt.Errorf("%s in %s, but not in the running server: %w", change, cfg.ClientsPlace(), err)
		todo := "fix the cause; the server retries by itself, and \"sallyportd reload\" prints what it finds"
		var other *notAppliedError
		if errors.As(err, &other) && other.Hint() != "" {
			todo = other.Hint()
		}
		return running, cli.WithHint(err, todo)
	}
	return running, nil
}

// serverLine returns for people what the server has done.
func serverLine(cfg *config.Config, running bool) string {
	if !running && cfg.FleetClients {
		return "No server answers at " + cfg.AdminSocket + ": it applies the change when it runs. The other gateways do that at once."
	}
	if !running {
		return "No server answers at " + cfg.AdminSocket + ": the change takes effect at the next start."
	}
	return "The running server has applied the change."
}

// reloadAll makes the server read its configuration again.
func reloadAll(ctx context.Context) func(admin.Conn) error {
	return func(conn admin.Conn) error {
		_, err := conn.Reload(ctx)
		return err
	}
}

// notReloaded is the error about a change of the configuration that the running server
// does not use.
func notReloaded(change string, err error) error {
	todo := "fix the cause, then: sallyportd reload"
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		todo = hinted.Hint()
	}
	return cli.WithHint(fmt.Errorf("%s, but the running server does not use the change: %w", change, err), todo)
}

// socketTime is how long a command waits for the socket of a server that runs: while a
// server starts, it holds its state directory before its socket is there.
const socketTime = time.Second

// askServer sends a request to the running server. If it returns no error, the
// server has done it, or certainly no server runs.
func askServer(ctx context.Context, cfg *config.Config, ask func(admin.Conn) error) (running bool, err error) {
	err = awaitSocket(ctx, func() error {
		running, err = askOnce(ctx, cfg, ask)
		return err
	})
	return running, err
}

// awaitSocket calls ask again, for socketTime, while a server runs and no socket is
// there.
func awaitSocket(ctx context.Context, ask func() error) error {
	for begin := time.Now(); ; {
		err := ask()
		var unanswered *unansweredError
		if !errors.As(err, &unanswered) || time.Since(begin) > socketTime {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(socketTime / 20):
		}
	}
}

func askOnce(ctx context.Context, cfg *config.Config, ask func(admin.Conn) error) (running bool, err error) {
	err = ask(admin.Conn{Socket: cfg.AdminSocket})
	var unreachable *admin.UnreachableError
	if !errors.As(err, &unreachable) || !unreachable.Stopped() {
		return true, explainReach(ctx, cfg, err)
	}
	// A server may run without its socket: it was removed, or could not be made.
	runs, stateErr := serverHoldsState(ctx, cfg)
	switch {
	case stateErr != nil:
		return true, fmt.Errorf("no server answers, but one may run: %w", stateErr)
	case runs:
		return true, &unansweredError{cfg.StateDir, err}
	}
	return false, nil
}

// serverHoldsState reports whether a server runs with the state directory.
func serverHoldsState(ctx context.Context, cfg *config.Config) (bool, error) {
	_, err := state.ReadDir(ctx, cfg.StateDir)
	var locked *state.LockedError
	var damaged *state.DamagedError
	var newer *state.NewerError
	switch {
	case errors.As(err, &locked):
		return true, nil
	// An error about the file shows that no process held the lock.
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.As(err, &damaged), errors.As(err, &newer):
		return false, nil
	}
	return false, err
}
