package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// The exit codes of a command that needs the running server, beside those of all commands.
const (
	exitNotRunning  = 3
	exitUnreachable = 4
)

// unreachedError is why a command has no answer of the server.
type unreachedError struct {
	text, hint, reason string
	code               int
}

func (e *unreachedError) Error() string      { return e.text }
func (e *unreachedError) Hint() string       { return e.hint }
func (e *unreachedError) ReasonCode() string { return e.reason }
func (e *unreachedError) FailureCode() int   { return e.code }

// needServer sends a request that only a running server can answer. Its error
// distinguishes a server that does not run from one that cannot be reached.
func needServer(ctx context.Context, cfg *config.Config, ask func(admin.Conn) error) error {
	return explainReach(ctx, cfg, ask(admin.Conn{Socket: cfg.AdminSocket}))
}

// explainReach explains an error of a request, if no server has answered it.
func explainReach(ctx context.Context, cfg *config.Config, err error) error {
	var unreachable *admin.UnreachableError
	if ctx.Err() != nil || !errors.As(err, &unreachable) {
		return err
	}
	return explainUnreachable(ctx, cfg, unreachable, 0)
}

// silent is the error about a process that has the socket, and does not answer within a
// time; 0: that of each request, which the command cannot change.
func silent(cfg *config.Config, timeout time.Duration) error {
	within, longer := timeout, "; --timeout waits longer"
	if timeout == 0 {
		within, longer = admin.Timeout, ""
	}
	return &unreachedError{
		fmt.Sprintf("the process at the admin socket %s did not answer within %s", cfg.AdminSocket, within),
		"check whether the server is stopped (state T in \"ps\"), or its host overloaded" + longer, "timeout", exitUnreachable,
	}
}

// explainUnreachable distinguishes a server that cannot be reached from one that does not
// run. Timeout is as for silent. Whether a server runs that does not answer is known from
// the lock of its state directory.
func explainUnreachable(ctx context.Context, cfg *config.Config, err *admin.UnreachableError, timeout time.Duration) error {
	why := err.Why()
	switch {
	case why == "timeout":
		return silent(cfg, timeout)
	case why == "permission":
		return &unreachedError{
			fmt.Sprintf("no permission to open the admin socket %s, so it is not known whether a server runs", cfg.AdminSocket),
			"run the command as root, or as the server's user", why, exitUnreachable,
		}
	case !err.Stopped():
		return &unreachedError{err.Error(), err.Hint(), why, exitUnreachable}
	}
	what := "nothing listens at its admin socket " + cfg.AdminSocket
	if why == "no-socket" {
		what = "its admin socket " + cfg.AdminSocket + " does not exist"
	}
	switch runs, stateErr := serverHoldsState(ctx, cfg); {
	case stateErr != nil:
		return &unreachedError{fmt.Sprintf("no server answers, but one may run: %v", stateErr), "run the command as root, or as the server's user", why, exitUnreachable}
	case runs:
		return &unreachedError{
			"a server runs, but " + what,
			"it may be starting or stopping; if not, another program has removed the socket, or the server has another admin_socket: its log shows which, and a restart makes it again",
			why, exitUnreachable,
		}
	}
	return &unreachedError{"no server runs with this configuration: " + what, "start it: sallyportd serve", "not-running", exitNotRunning}
}
