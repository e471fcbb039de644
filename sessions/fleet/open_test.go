package fleet

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"sallyport/sessions/fleet/cluster"
)

// TestOpenFails: without the file of etcd's authority there is no Journal, so that the
// daemon does not close one that is not complete.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	j, err := Open(Config{
		Cluster: cluster.Config{
			Endpoints: []string{"https://etcd1.example:2379"}, CA: filepath.Join(t.TempDir(), "missing.pem"), Log: slog.New(slog.DiscardHandler),
		},
		Dir: t.TempDir(), Wall: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || j != nil {
		t.Fatalf("Journal %v, error %v; want none, and an error", j, err)
	}
}
