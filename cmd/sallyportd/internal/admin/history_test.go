package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHistoryRequests: the last hour, the end of the log and the metrics arrive as they are;
// no log is an empty list.
func TestHistoryRequests(t *testing.T) {
	until := time.Unix(2000, 0).UTC()
	ended := EndedLease{Lease{Service: "web", Client: "com1", Since: time.Unix(1000, 0).UTC(), Until: &until}, "expired"}
	sent := History{Now: until, Minutes: []Minute{{until, 7, map[string]uint64{"mac": 1 << 63}}}, Ended: []EndedLease{ended}}
	var lines []string
	for range 200 {
		lines = append(lines, strings.Repeat("\x01", 4<<10)) // six bytes each in JSON
	}
	logged := lines
	c := serve(t, Handlers{
		History: func() History { return sent },
		LogTail: func() []string { return logged },
		Metrics: func(w io.Writer) error {
			_, err := io.WriteString(w, "sallyport_ready 1\n")
			return err
		},
		Status: func() Status { return Status{} },
	})
	got, err := c.History(t.Context())
	if err != nil || len(got.Ended) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	l := got.Ended[0]
	if fmt.Sprint(got.Minutes) != fmt.Sprint(sent.Minutes) || l.Client != "com1" || l.Reason != "expired" ||
		!l.Until.Equal(until) || !got.Now.Equal(until) {
		t.Errorf("%+v", got)
	}
	if got, err := c.Log(t.Context()); err != nil || len(got.Lines) != 200 || got.Lines[199] != lines[199] {
		t.Errorf("%d lines, %v", len(got.Lines), err)
	}
	logged = nil
	if got, err := c.Log(t.Context()); err != nil || got.Lines == nil || len(got.Lines) != 0 {
		t.Errorf("no log: %+v, %v", got, err)
	}
	if got, err := c.Metrics(t.Context()); err != nil || string(got) != "sallyport_ready 1\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, err := range []error{earlier(&RefusedError{status: http.StatusNotFound}), earlier(fmt.Errorf("x: %w", &RefusedError{status: http.StatusNotFound}))} {
		if !errors.Is(err, ErrEarlier) {
			t.Error(err)
		}
	}
	if err := earlier(&RefusedError{status: http.StatusUnprocessableEntity}); errors.Is(err, ErrEarlier) || err == nil {
		t.Error(err)
	}
}
