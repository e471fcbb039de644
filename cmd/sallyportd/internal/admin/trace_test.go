package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"sallyport/cmd/internal/hint"
)

// TestTraceRequest: the lines of a trace arrive one by one, a refusal has its hint, and
// when the reader goes away the context of the trace ends.
func TestTraceRequest(t *testing.T) {
	ended := make(chan struct{}, 1)
	c := serve(t, Handlers{Trace: func(ctx context.Context, asked Trace) (<-chan TraceLine, error) {
		if asked.Identifier == "busy" {
			return nil, hint.With(errors.New("a trace runs"), "wait")
		}
		lines := make(chan TraceLine)
		go func() {
			defer close(lines)
			for _, l := range []TraceLine{{Event: TraceStarted}, {Event: TraceRefused, Reason: "mac"}} {
				lines <- l
			}
			if asked.Identifier == "stay" {
				<-ctx.Done()
				ended <- struct{}{}
				return
			}
			if asked.Identifier == "whole" {
				lines <- TraceLine{Event: TraceEnded}
			}
		}()
		return lines, nil
	}})
	var seen []string
	trace := func(id string, f func(TraceLine) error) error {
		seen = nil
		return c.Trace(t.Context(), Trace{Identifier: id, Seconds: 1}, func(l TraceLine) error {
			seen = append(seen, l.Event)
			return f(l)
		})
	}
	ok := func(TraceLine) error { return nil }
	if err := trace("whole", ok); err != nil || strings.Join(seen, " ") != "started refused ended" {
		t.Errorf("%v, %v", seen, err)
	}
	if err := trace("cut", ok); err == nil || !strings.Contains(err.Error(), "the server has stopped") {
		t.Errorf("a trace without an end: %v", err)
	}
	var refused *RefusedError
	err := trace("busy", ok)
	if !errors.As(err, &refused) || refused.Error() != "a trace runs" || refused.Hint() != "wait" {
		t.Errorf("refused: %v", err)
	}
	enough := errors.New("enough")
	if err := trace("stay", func(l TraceLine) error {
		if l.Reason != "" {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		t.Errorf("a reader that ends: %v", err)
	}
	<-ended
	for _, wrong := range []string{"", "{", "[1]", `{"identifier":` + strings.Repeat(" ", maxRestriction) + `"a"}`} {
		_, err := c.ask(t.Context(), http.MethodPost, "/trace", strings.NewReader(wrong))
		if err == nil || !strings.Contains(err.Error(), "expected as JSON what to trace") {
			t.Errorf("%.20q: %v", wrong, err)
		}
	}
}
