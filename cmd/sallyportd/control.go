package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
)

// settleTime is how long the clients file has to be left alone before it is
// read: editors and copies write in steps.
const settleTime = 200 * time.Millisecond

// lookTime is how long a change may go unnoticed that makes no event.
const lookTime = 2 * time.Second

// control carries out what comes from outside until ctx ends: SIGHUP, the
// admin socket, and changes of the clients file. None of it keeps the server
// from serving when it fails.
func control(ctx context.Context, s *server, cfg config, hangups <-chan os.Signal, log *slog.Logger) error {
	r := &reloader{server: s, log: log, current: cfg}
	var g errgroup.Group
	g.Go(func() error {
		r.onHangup(ctx, hangups)
		return nil
	})
	g.Go(func() error {
		if err := r.onClientsChange(ctx, cfg.clientsPath, cfg.clientsState); err != nil {
			log.Warn("changes of the clients file go unnoticed until a reload", "error", err)
		}
		return nil
	})
	g.Go(func() error {
		if err := serveAdmin(ctx, cfg.adminSocket, r); err != nil {
			log.Warn("no admin socket: \"sallyportd reload\" will not reach this server, SIGHUP will", "error", err)
		}
		return nil
	})
	return g.Wait()
}

func (r *reloader) onHangup(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
			r.reload(ctx) // what comes of it is in the log
		case <-ctx.Done():
			return
		}
	}
}

// onClientsChange watches the directories of the file, since the file itself
// may be replaced: by rename, or through a link that is set anew. Loaded is
// what the file was when the server read it.
func (r *reloader) onClientsChange(ctx context.Context, path string, loaded fileState) error {
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
			r.log.Warn("watching the clients file", "error", err)
			timer.Reset(settleTime)
		case _, ok := <-w.Events:
			if !ok {
				return errors.New("watch the clients file: the watcher has stopped")
			}
			// Other files of the directory may change all the time, and must
			// not put the timer off for ever.
			if now := stateOf(path); now != seen {
				seen = now
				timer.Reset(settleTime)
			}
		case <-look.C:
			if now := stateOf(path); now != seen {
				seen = now
				timer.Reset(settleTime)
			}
		case <-timer.C:
			follow()
			if now := stateOf(path); now != last {
				last, seen = now, now
				r.reloadClients(ctx) // what comes of it is in the log
			}
		}
	}
}

// fileState tells one state of a file from another.
type fileState struct {
	mode     os.FileMode
	exists   bool
	size     int64
	modified time.Time
	inode    uint64
}

func stateOf(path string) (s fileState) {
	info, err := os.Stat(path)
	if err != nil {
		return s
	}
	s = fileState{exists: true, mode: info.Mode(), size: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}
