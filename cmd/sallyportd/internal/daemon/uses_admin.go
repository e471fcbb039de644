package daemon

import (
	"context"
	"fmt"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
)

// usesLeft returns how often the operations with a limit may still be used.
func (s *Server) usesLeft() []admin.Uses {
	s.reloads.mu.Lock()
	cfg := s.reloads.current
	s.reloads.mu.Unlock()
	all := []admin.Uses{}
	for _, o := range cfg.Operations {
		if k, err := useKeyOf(o); err == nil && o.Uses > 0 {
			all = append(all, adminUses(o, s.uses.use(k)))
		}
	}
	return all
}

// resetUses counts the uses of an operation from zero. In a fleet it asks etcd, for which
// no reload or revocation may wait. If a reload changes the secret meanwhile, the new one
// begins at zero by itself.
func (s *Server) resetUses(asked admin.ResetUses) (now admin.Uses, err error) {
	s.reloads.mu.Lock()
	cfg := s.reloads.current
	s.reloads.mu.Unlock()
	o, err := limitedOperation(cfg, asked.Operation)
	if err != nil {
		return now, hint.With(err, "if the configuration has changed: sallyportd reload")
	}
	k, err := useKeyOf(o)
	if err != nil {
		return now, err
	}
	if err := s.uses.reset(k); err != nil {
		return now, fmt.Errorf("write the record of uses: %w", err)
	}
	s.env.Log.Info("operation counted from zero", "operation", o.ID, "uses_left", o.Uses)
	return adminUses(o, s.uses.use(k)), nil
}

// limitedOperation returns an operation of a configuration, if it has a limit.
func limitedOperation(cfg *config.Config, id string) (config.Operation, error) {
	for _, o := range cfg.Operations {
		switch {
		case o.ID == id && o.Uses > 0:
			return o, nil
		case o.ID == id:
			return o, fmt.Errorf("operation %q has no limit of uses", id)
		}
	}
	return config.Operation{}, fmt.Errorf("there is no operation %q", id)
}

func adminUses(o config.Operation, x state.Use) admin.Uses {
	return admin.Uses{Operation: o.ID, Uses: o.Uses, Left: x.LeftOf(o.Uses), Unknown: x.Unknown}
}

// RecordedUses returns how often the operations of a configuration, which has its
// secrets, may still be used by the record. If it fails, the next start makes none of
// them available.
func RecordedUses(cfg *config.Config) (all []admin.Uses, err error) {
	list, err := state.ReadUses(cfg.StateDir)
	present, keyErr := limitsOf(cfg.Operations)
	if keyErr != nil {
		return nil, keyErr
	}
	if err != nil {
		list = state.AfterLoss(list, present)
	}
	for _, o := range cfg.Operations {
		if o.Uses == 0 {
			continue
		}
		k, keyErr := useKeyOf(o)
		if keyErr != nil {
			return nil, keyErr
		}
		now := state.Use{UseKey: k}
		for _, x := range list {
			if x.UseKey == k {
				now = x
			}
		}
		all = append(all, adminUses(o, now))
	}
	return all, err
}

// ResetRecordedUses counts the uses of an operation from zero while no server runs.
// The configuration has its secrets.
func ResetRecordedUses(ctx context.Context, cfg *config.Config, id string) (now admin.Uses, err error) {
	o, err := limitedOperation(cfg, id)
	if err != nil {
		return now, err
	}
	k, err := useKeyOf(o)
	if err != nil {
		return now, err
	}
	present, err := limitsOf(cfg.Operations)
	if err != nil {
		return now, err
	}
	err = state.EditUses(ctx, cfg.StateDir, func(list []state.Use, readErr error) ([]state.Use, error) {
		if readErr != nil {
			if refused := fatalUses(readErr); refused != nil {
				return nil, refused
			}
			list = state.AfterLoss(list, present)
		}
		return state.SetUse(list, state.Use{UseKey: k}, present), nil
	})
	return adminUses(o, state.Use{UseKey: k}), err
}
