package main

import (
	"context"
	"errors"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// readStatus asks the server for its status.
func readStatus(ctx context.Context, cfg *config.Config, timeout time.Duration) (st admin.Status, err error) {
	err = asked(ctx, cfg, timeout, func(ctx context.Context, c admin.Conn) (err error) {
		st, err = c.Status(ctx)
		return err
	})
	return st, err
}

// asked calls ask, which must end within a time, and explains why there is no answer.
func asked(ctx context.Context, cfg *config.Config, timeout time.Duration, ask func(context.Context, admin.Conn) error) error {
	inTime, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := ask(inTime, admin.Conn{Socket: cfg.AdminSocket})
	var unreachable *admin.UnreachableError
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, admin.ErrEarlier):
		return &unreachedError{err.Error(), "restart the server", "earlier-release", exitUnreachable}
	case errors.As(err, &unreachable):
		return explainUnreachable(ctx, cfg, unreachable, timeout)
	case inTime.Err() != nil:
		return silent(cfg, timeout)
	}
	return err
}
