package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
)

// control carries out what comes from outside until ctx ends: SIGHUP, the
// admin socket, and changes of the clients file. None of it keeps the server
// from serving when it fails.
func (s *Server) control(ctx context.Context, c Control) error {
	s.reloads.mu.Lock()
	s.reloads.file = c.Clients
	path, log, socket := s.reloads.current.ClientsPath, s.env.Log, s.reloads.current.AdminSocket
	s.reloads.mu.Unlock()
	var g errgroup.Group
	g.Go(func() error {
		s.onHangup(ctx, c.Hangups)
		return nil
	})
	g.Go(func() error {
		if err := s.onClientsChange(ctx, path); err != nil {
			log.Warn("failed to watch the clients file", "error", err, "hint", "after each change, run: sallyportd reload")
		}
		return nil
	})
	g.Go(func() error {
		err := admin.Serve(ctx, socket, admin.Handlers{
			Reload: s.settled(s.Reload), ReloadClients: s.settled(s.ReloadClients), Restrict: s.Restrict, Grants: &s.feed, State: s.state.Snapshot, Counters: s.Counters,
		})
		if err != nil {
			log.Warn("failed to serve the admin socket", "socket", socket, "error", err, "hint", "to reload, send SIGHUP")
		}
		return nil
	})
	return g.Wait()
}

func (s *Server) onHangup(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
			s.Reload(ctx) // what comes of it is in the log
		case <-ctx.Done():
			return
		}
	}
}

// onClientsChange watches the directories of the file, since the file itself
// may be replaced: by rename, or through a link that is set anew.
func (s *Server) onClientsChange(ctx context.Context, path string) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the clients file: %w", err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch the clients file: %w", err)
	}
	var watch clients.Watch
	return s.follow(ctx, w.Events, w.Errors, func() time.Duration {
		// Best effort: a link may lead to a directory that is replaced whole.
		if target, err := filepath.EvalSymlinks(path); err == nil {
			w.Add(filepath.Dir(target))
		}
		return s.look(ctx, &watch, path)
	})
}

// follow calls look at each event, and after the time that it returns: not every
// way to replace a file makes an event where we watch.
func (s *Server) follow(ctx context.Context, events <-chan fsnotify.Event, lost <-chan error, look func() time.Duration) error {
	timer := time.NewTimer(0) // it may have changed since it was loaded
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			// Some events were lost: look at the file rather than trust them.
			s.env.Log.Warn("events of the clients file lost; reading the file", "error", err)
		case _, ok := <-events:
			if !ok {
				return errors.New("watch the clients file: the watcher has stopped")
			}
		case <-timer.C:
		}
		timer.Reset(look())
	}
}

// look does what the state of the clients file asks for, and returns after what
// time to look again.
func (s *Server) look(ctx context.Context, w *clients.Watch, path string) (rest time.Duration) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	now, file := s.env.Clock.Monotonic(), clients.StateOf(path)
	read, rest := w.Look(now, file, s.reloads.file)
	if read {
		rest = clients.LookTime
		if _, err := s.change(ctx, request{noticed: true}, "clients", readClients); err != nil { // which is in the log
			w.Failed(now)
		}
	}
	var unchanged time.Time
	if file == s.reloads.file {
		unchanged = w.Since()
	}
	s.cutMissing(now, unchanged)
	if len(s.reloads.missing.of) > 0 {
		rest = min(rest, missingLook)
	}
	return rest
}

// missingLook is how often it is looked whether the clients file stands
// unchanged, while clients are missing.
const missingLook = 100 * time.Millisecond
