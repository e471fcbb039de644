package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
)

// ReloadOnTrial is Reload, with newly hidden services on trial for a time; 0: trials that
// run end, and their services are closed for good. The holder puts them on trial while the reload is prepared: if it cannot, nothing changes.
func (s *Server) ReloadOnTrial(ctx context.Context, d time.Duration) (admin.Reloaded, error) {
	if s.holder == nil {
		return admin.Reloaded{}, errNoHolderForTrial
	}
	return s.reload(ctx, cause{trial: &d})
}

var errNoHolderForTrial = hint.With(errors.New("nothing can be on trial: this server has no holder of the firewall"),
	"services of type \"firewall\", and stealth, require a holder: restart the server, with CAP_NET_ADMIN and serve --trial TIME")

// changedOnTrial adds to the error about a change that requires a restart how to put what
// that hides on trial.
func (s *Server) changedOnTrial(d *time.Duration, err error) error {
	switch {
	case err == nil || d == nil:
		return err
	case s.holder.Independent():
		return hint.With(err, fmt.Sprintf("a new service is hidden by the holder, and then the server is restarted: sallyportd firewall reload --trial %s; systemctl restart sallyportd", *d))
	}
	return hint.With(err, fmt.Sprintf("stop the server, and start it with --trial %s: then a new service is on trial", *d))
}

// onTrial returns what is on trial, for the answer to a command.
func (s *Server) onTrial() (list []admin.Trial, err error) {
	state, err := s.holder.Trial()
	if err != nil {
		return nil, fmt.Errorf("reloaded; but what is on trial is not known: %w", err)
	}
	wall := s.env.Clock.Wall()
	for _, t := range state.Tried {
		of := admin.Trial{Service: shown(s.nameOnTrial(t.Service))}
		if t.Left > 0 {
			until := wall.Add(t.Left).UTC()
			of.Until = &until
		}
		list = append(list, of)
	}
	slices.SortFunc(list, func(a, b admin.Trial) int { return strings.Compare(a.Service, b.Service) })
	return list, nil
}
