package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestExpiredProfile: from the time of the profile on, Knock uses no nonce and sends
// nothing.
func TestExpiredProfile(t *testing.T) {
	at := time.Date(2026, 12, 31, 18, 0, 0, 0, time.UTC)
	for now, over := range map[time.Time]bool{at.Add(-time.Nanosecond): false, at: true, at.Add(time.Hour): true} {
		p := profile()
		p.Expires = at
		err := p.expired(now)
		if (err != nil) != over {
			t.Errorf("at %v: %v", now, err)
		}
	}
	p := profile()
	p.Expires = at
	path := filepath.Join(t.TempDir(), "nonce")
	_, err := Knock(t.Context(), Config{Profile: p, Nonces: NonceFile{Path: path}, Now: func() time.Time { return at }})
	var offline *OfflineError
	if !errors.As(err, &offline) || ReasonOf(err) != ReasonExpired || !strings.Contains(err.Error(), "expired on 2026-12-31") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the nonce file: %v", err)
	}
}
