package sandbox

import (
	"path/filepath"
	"testing"

	"sallyport/cmd/sallyportd/internal/logsink"
)

// TestJournalDirectory: the directory that stays is that of the log's socket.
func TestJournalDirectory(t *testing.T) {
	if got := filepath.Dir(logsink.DefaultJournal); got != journalDir {
		t.Errorf("the log writes to a socket in %s, and %s stays", got, journalDir)
	}
}
