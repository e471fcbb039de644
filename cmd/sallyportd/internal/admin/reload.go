package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// trialRequest is the body of a request to reload on trial. The path is not that of
// a reload: a server of an earlier release would ignore the body, and hide for good.
type trialRequest struct {
	// Seconds is how long newly hidden services are on trial; 0: trials that run end, and
	// their services are closed for good.
	Seconds *float64 `json:"seconds"`
}

// maxTrialRequest bounds the body, in bytes.
const maxTrialRequest = 1 << 10

// maxTrial is the longest trial.
const maxTrial = 24 * time.Hour

// serveTrial serves a request to reload on trial. It does not end with the command: ctx is
// not the request's.
func (h Handlers) serveTrial(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var asked trialRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTrialRequest))
	d.DisallowUnknownFields()
	switch err := d.Decode(&asked); {
	case err != nil:
		http.Error(w, "expected seconds as JSON: "+err.Error(), http.StatusBadRequest)
	case asked.Seconds == nil || *asked.Seconds < 0 || *asked.Seconds > maxTrial.Seconds():
		http.Error(w, "seconds: expected a number from 0 to 86400", http.StatusBadRequest)
	default:
		answer(w)(h.ReloadOnTrial(ctx, time.Duration(*asked.Seconds*float64(time.Second))))
	}
}

// ReloadOnTrial is Reload, with newly hidden services on trial for a time; 0: trials that
// run end, and their services are closed for good.
func (c Conn) ReloadOnTrial(ctx context.Context, d time.Duration) (Reloaded, error) {
	seconds := d.Seconds()
	return c.changeBy(ctx, "/reload/trial", trialRequest{&seconds})
}
