package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/xdp"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
)

// noArrays is a shield without arrays.
type noArrays struct{ array *os.File }

func (n noArrays) Attach() error { return nil }
func (n noArrays) Arrays() []holder.ShieldArray {
	return []holder.ShieldArray{{Name: "settings", File: n.array}}
}
func (n noArrays) State() holder.ShieldState { return holder.ShieldState{} }
func (n noArrays) Close() error              { return nil }

// TestFormerShieldGoesOn: if the holder cannot load a shield for more clients, the server
// keeps the former one, and logs that once. If it is detached, the server does not keep it.
func TestFormerShieldGoesOn(t *testing.T) {
	t.Parallel()
	array, err := os.CreateTemp(t.TempDir(), "settings")
	if err != nil {
		t.Fatal(err)
	}
	defer array.Close()
	for name, row := range map[string]struct {
		loaded bool // the holder has the former one
		line   string
	}{
		"attached": {true, `msg="shield for more clients unavailable; the former goes on"`},
		"detached": {false, `msg="shield unavailable; the sockets go on"`},
	} {
		works := row.loaded
		c, done := holdertest.Start(t, holder.Config{
			Policy: holder.Policy{Shield: &holder.ShieldPolicy{}}, Digest: holder.Digest{1},
			Claim: holder.Unguarded, Clock: clock.Clock{Wall: time.Now, Monotonic: time.Now, Boot: time.Now},
			Shield: func(holder.ShieldRequest) (holder.Shield, error) {
				if works {
					works = false
					return noArrays{array}, nil
				}
				return nil, errors.New("no memory")
			},
		})
		if row.loaded {
			arrays, err := c.Shield(t.Context(), holder.ShieldRequest{})
			if err != nil {
				t.Fatal(err)
			}
			arrays["settings"].Close()
		}
		var log bytes.Buffer
		var set []*xdp.Shield
		s := newShield(&config.Config{Shield: &config.Shield{}}, 2, c, func(_ context.Context, next *xdp.Shield, _ xdp.Options) error {
			set = append(set, next)
			return nil
		}, slog.New(slog.NewTextHandler(&log, nil)))
		current := &xdp.Shield{}
		s.current, s.room = current, 1
		s.load(t.Context())
		s.load(t.Context())
		if strings.Count(log.String(), row.line) != 1 || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%s: want %s once\n%s", name, row.line, log.String())
		}
		if row.loaded && (s.current != current || len(set) != 0) {
			t.Errorf("%s: the server uses %p, and has changed it %d times", name, s.current, len(set))
		}
		if !row.loaded && (s.current != nil || len(set) != 1) {
			t.Errorf("%s: the server uses %p, and has changed it %d times", name, s.current, len(set))
		}
		holdertest.Stop(t, c, done)
	}
}
