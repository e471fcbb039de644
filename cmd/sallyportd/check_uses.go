package main

import (
	"context"
	"errors"
	"io/fs"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
)

// checkUses warns about operations without a use left. Without the rights to read the
// record of uses, it finds nothing. It returns an error if the server would refuse the
// record.
func checkUses(ctx context.Context, cfg *config.Config) (found []finding, err error) {
	uses, err := usesOf(ctx, cfg)
	var newer *state.NewerError
	switch {
	case errors.As(err, &newer):
		return nil, err
	case errors.Is(err, fs.ErrPermission):
		return nil, nil
	case err != nil:
		return []finding{warn("uses-unreadable", "", "cannot read how often operations were used: %v", err)}, nil
	}
	for _, o := range cfg.Operations {
		u, ok := uses[o.ID]
		switch {
		case !ok || u.Left > 0:
		case u.Unknown:
			found = append(found, warn("uses-lost", "if it may be used again, count from zero: sallyportd operation reset "+o.ID,
				"operation %q is unavailable: the record of its uses was lost, or there was none at the first start", o.ID))
		default:
			found = append(found, warn("operation-used-up", "remove the operation; or count from zero: sallyportd operation reset "+o.ID,
				"operation %q has no uses left", o.ID))
		}
	}
	return found, nil
}
