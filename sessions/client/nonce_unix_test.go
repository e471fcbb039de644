//go:build unix

package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestReserveWaitsForTheLock(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	if _, _, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(f.Path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := f.Reserve(ctx, "com1", 3, noon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
