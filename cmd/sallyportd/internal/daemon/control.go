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

// settleTime is how long the clients file has to be left alone before it is
// read: editors and copies write in steps.
const settleTime = 200 * time.Millisecond

// lookTime is how long a change may go unnoticed that makes no event.
const lookTime = 2 * time.Second

// control carries out what comes from outside until ctx ends: SIGHUP, the
// admin socket, and changes of the clients file. None of it keeps the server
// from serving when it fails.
func (s *Server) control(ctx context.Context, c Control) error {
	path, log := s.reloads.current.ClientsPath, s.env.Log
	socket := s.reloads.current.AdminSocket
	var g errgroup.Group
	g.Go(func() error {
		s.onHangup(ctx, c.Hangups)
		return nil
	})
	g.Go(func() error {
		if err := s.onClientsChange(ctx, path, c.Clients); err != nil {
			log.Warn("changes of the clients file go unnoticed until a reload", "error", err)
		}
		return nil
	})
	g.Go(func() error {
		err := admin.Serve(ctx, socket, admin.Handlers{
			Reload: s.Reload, ReloadClients: s.ReloadClients, Grants: &s.feed, State: s.state.Snapshot, Counters: s.Counters,
		})
		if err != nil {
			log.Warn("no admin socket: \"sallyportd reload\" will not reach this server, SIGHUP will", "error", err)
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
// may be replaced: by rename, or through a link that is set anew. Loaded is
// what the file was when the server read it.
func (s *Server) onClientsChange(ctx context.Context, path string, loaded clients.State) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the clients file: %w", err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch the clients file: %w", err)
	}
	follow := func() {
		// Best effort: a link may lead to a directory that is replaced whole.
		if target, err := filepath.EvalSymlinks(path); err == nil {
			w.Add(filepath.Dir(target))
		}
	}
	follow()
	last, seen := loaded, loaded
	timer := time.NewTimer(0) // it may have changed since it was loaded
	defer timer.Stop()
	// Not every way to replace a file makes an event where we watch.
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.Errors:
			// Some events were lost: look at the file rather than trust them.
			s.env.Log.Warn("watching the clients file", "error", err)
			timer.Reset(settleTime)
		case _, ok := <-w.Events:
			if !ok {
				return errors.New("watch the clients file: the watcher has stopped")
			}
			// Other files of the directory may change all the time, and must
			// not put the timer off for ever.
			if now := clients.StateOf(path); now != seen {
				seen = now
				timer.Reset(settleTime)
			}
		case <-look.C:
			if now := clients.StateOf(path); now != seen {
				seen = now
				timer.Reset(settleTime)
			}
		case <-timer.C:
			follow()
			if now := clients.StateOf(path); now != last {
				last, seen = now, now
				s.ReloadClients(ctx) // what comes of it is in the log
			}
		}
	}
}
