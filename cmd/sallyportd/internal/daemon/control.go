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
	"sallyport/cmd/sallyportd/internal/metrics"
)

// control handles SIGHUP, the admin socket, and changes of the clients file, until
// ctx ends. If one of them fails, the server serves nevertheless.
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
		if s.list != nil {
			return nil // the server itself writes its copy: see followList
		}
		if err := s.onClientsChange(ctx, path); err != nil {
			log.Warn("failed to watch the clients file", "error", err, "hint", "after each change, run: sallyportd reload")
		}
		return nil
	})
	text := metrics.New(s.status).Text
	g.Go(func() error {
		s.serveMetrics(ctx, text)
		return nil
	})
	g.Go(func() error {
		err := admin.Serve(ctx, socket, admin.Handlers{
			Reload: s.awaitClients(s.Reload), ReloadClients: s.awaitClients(s.ReloadClients), Restrict: s.Restrict,
			ReloadOnTrial: s.ReloadOnTrial,
			Grants:        &s.feed, State: s.state.Snapshot, Counters: s.Counters, Waiting: s.waiting, Failing: s.failing,
			Shield: s.shield.status, Relay: s.challenge.reach, TooFar: s.tooFar.list, Resync: s.Resync,
			AwaitList: s.AwaitList, AcceptList: s.AcceptList,
			Leases: s.leases, CloseLeases: s.closeLeases, Uses: s.usesLeft, ResetUses: s.resetUses, Trace: s.Trace,
			Confirm: s.Confirm, Log: log,
			Status: s.status, Metrics: text, History: s.pastHour, LogTail: s.logTail,
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
			s.Reload(ctx) // which logs its result
		case <-ctx.Done():
			return
		}
	}
}

// onClientsChange watches the directories of the file, because the file itself may
// be replaced: by a rename, or by a change of a symbolic link to it.
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
	return s.watchFile(ctx, w.Events, w.Errors, func() time.Duration {
		// Best effort: the directory that a link leads to may itself be replaced.
		if target, err := filepath.EvalSymlinks(path); err == nil {
			w.Add(filepath.Dir(target))
		}
		return s.checkClients(ctx, &watch, path)
	})
}

// watchFile calls check at each event, and again after the time that it returns:
// not every way to replace a file makes an event in the watched directories.
func (s *Server) watchFile(ctx context.Context, events <-chan fsnotify.Event, lost <-chan error, check func() time.Duration) error {
	timer := time.NewTimer(0) // the file may have changed since it was loaded
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			// Some events were lost: check the file itself.
			s.env.Log.Warn("events of the clients file lost; reading the file", "error", err)
		case _, ok := <-events:
			if !ok {
				return errors.New("watch the clients file: the watcher has stopped")
			}
		case <-timer.C:
		}
		timer.Reset(check())
	}
}

// checkClients reads the clients file if it has changed, cuts off clients that are
// missing, and returns after what time to check again.
func (s *Server) checkClients(ctx context.Context, w *clients.Watch, path string) (rest time.Duration) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	now, file := s.env.Clock.Monotonic(), clients.StateOf(path)
	read, rest := w.Look(now, file, s.reloads.file)
	if read {
		rest = clients.LookTime
		if _, err := s.change(ctx, cause{noticed: true}, "clients", s.readClients); err != nil { // it is in the log
			w.Failed(now)
		}
	}
	var unchanged time.Time
	if file == s.reloads.file {
		unchanged = w.Since()
	}
	s.cutMissing(now, unchanged)
	if len(s.reloads.missing.of) > 0 {
		rest = min(rest, missingInterval)
	}
	return rest
}

// missingInterval is how often the clients file is checked while clients are
// missing.
const missingInterval = 100 * time.Millisecond
