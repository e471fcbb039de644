package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/xdp"
)

// TestShieldChangedIsLogged: a reload with other options logs that the shield changed only
// if there is one, and it did.
func TestShieldChangedIsLogged(t *testing.T) {
	t.Parallel()
	const changed, failed = `msg="shield changed"`, `msg="failed to change the shield"`
	for name, row := range map[string]struct {
		current *xdp.Shield
		err     error
		want    []string
	}{
		"changed":   {&xdp.Shield{}, nil, []string{changed}},
		"failed":    {&xdp.Shield{}, errors.New("the receiver has ended"), []string{failed}},
		"no shield": {nil, nil, nil},
	} {
		var log bytes.Buffer
		set := func(context.Context, *xdp.Shield, xdp.Options) error { return row.err }
		s := newShield(&config.Config{Shield: &config.Shield{}}, 1, nil, set, slog.New(slog.NewTextHandler(&log, nil)))
		s.current, s.room = row.current, 1
		s.reload(&config.Config{Shield: &config.Shield{Mirror: true}}, 1)
		if got := strings.Count(log.String(), "\n"); got != len(row.want) {
			t.Errorf("%s: %d lines, want %d\n%s", name, got, len(row.want), log.String())
		}
		for _, line := range row.want {
			if !strings.Contains(log.String(), line) {
				t.Errorf("%s: %s misses in\n%s", name, line, log.String())
			}
		}
	}
}
