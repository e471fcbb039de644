package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
)

// inForce has the running server, if there is one, take a change of the clients
// file, waits, and says what came of it. What is the change in a few words, such
// as "client k7Qx is registered".
func inForce(ctx context.Context, cfg *config.Config, what string, ask func(admin.Client) error) (said string, err error) {
	running, err := askServer(ctx, cfg, ask)
	switch {
	case err != nil:
		return "", cli.WithHint(fmt.Errorf("%s in %s, but not in the running server: %w", what, cfg.ClientsPath, err),
			"fix the cause; the server tries again by itself, and \"sallyportd reload -c "+cfg.Path+"\" says what it finds")
	case !running:
		return "No server answers at " + cfg.AdminSocket + ": it takes effect at the next start.", nil
	}
	return "The running server has taken it.", nil
}

// sayInForce is inForce for commands whose output is a profile.
func sayInForce(ctx context.Context, env cli.Env, cfg *config.Config, what string) error {
	said, err := inForce(ctx, cfg, what, reloadClients(ctx))
	if err == nil {
		_, err = fmt.Fprintln(env.Stderr, said)
	}
	return err
}

// reloadClients has the server read the clients file again.
func reloadClients(ctx context.Context) func(admin.Client) error {
	return func(c admin.Client) error {
		_, err := c.ReloadClients(ctx)
		return err
	}
}

// askServer asks the running server. Without an error, it has done what was
// asked, or it is certain that there is none.
func askServer(ctx context.Context, cfg *config.Config, ask func(admin.Client) error) (running bool, err error) {
	err = ask(admin.Client{Socket: cfg.AdminSocket})
	var unreachable *admin.UnreachableError
	if !errors.As(err, &unreachable) || !unreachable.Stopped() {
		return true, err
	}
	// Its socket may have been removed, or there was no room for one.
	runs, stateErr := holdsState(ctx, cfg)
	switch {
	case stateErr != nil:
		return true, fmt.Errorf("no server answers, and it is not known that none runs: %w", stateErr)
	case runs:
		return true, &unansweredError{cfg.StateDir, err}
	}
	return false, nil
}

// holdsState reports whether a server runs with the state directory.
func holdsState(ctx context.Context, cfg *config.Config) (bool, error) {
	_, err := state.ReadDir(ctx, cfg.StateDir)
	var locked *state.LockedError
	var damaged *state.DamagedError
	var newer *state.NewerError
	switch {
	case errors.As(err, &locked):
		return true, nil
	// What is wrong with the file shows that nobody held it.
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.As(err, &damaged), errors.As(err, &newer):
		return false, nil
	}
	return false, err
}
