package admin

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"
)

// TestReloadOnTrial: the time arrives, and so does what is on trial. A body without a time
// from 0 to a day, or with an unknown key, reloads nothing.
func TestReloadOnTrial(t *testing.T) {
	var asked []time.Duration
	c := serve(t, Handlers{
		Reload: func(context.Context) (Reloaded, error) { panic("a reload without a trial") },
		ReloadOnTrial: func(_ context.Context, d time.Duration) (Reloaded, error) {
			asked = append(asked, d)
			if d == 0 {
				return Reloaded{}, errors.New("no holder")
			}
			return Reloaded{Clients: 3, OnTrial: []Trial{{Service: "stealth"}}}, nil
		},
	})
	done, err := c.ReloadOnTrial(t.Context(), 90*time.Second)
	if err != nil || done.Clients != 3 || len(done.OnTrial) != 1 || done.OnTrial[0].Service != "stealth" {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := c.ReloadOnTrial(t.Context(), 0); err == nil {
		t.Error("no error")
	}
	if len(asked) != 2 || asked[0] != 90*time.Second || asked[1] != 0 {
		t.Errorf("asked for %v", asked)
	}
	for _, body := range []any{nil, map[string]any{}, map[string]any{"seconds": -1}, map[string]any{"seconds": 86401}, map[string]any{"seconds": 1, "more": 1}} {
		var refused *RefusedError
		err := c.askJSON(t.Context(), http.MethodPost, "/reload/trial", body, maxAnswer, &done)
		if !errors.As(err, &refused) || refused.status != http.StatusBadRequest {
			t.Errorf("%v: %v", body, err)
		}
	}
	if len(asked) != 2 {
		t.Errorf("a faulty body reloads: %v", asked)
	}
}
