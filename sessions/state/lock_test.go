package state

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLockFails: an error of the lock's file is no other server.
func TestLockFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("elsewhere", filepath.Join(dir, FileName+".lock")); err != nil {
		t.Skip(err)
	}
	var log bytes.Buffer
	_, err := TakeLock(t.Context(), dir, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))
	var locked *LockedError
	if err == nil || errors.As(err, &locked) {
		t.Errorf("got %v, want the error of the file", err)
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", log.String())
	}
}
