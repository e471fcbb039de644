package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
	"sallyport/sessions/client/stay"
	"sallyport/sessions/clock"
)

// reader is a standard output that is read once the gate is closed.
type reader struct {
	gate <-chan struct{}
	text bytes.Buffer
	err  error
}

func (r *reader) Write(b []byte) (int, error) {
	<-r.gate
	r.text.Write(b)
	return len(b), r.err
}

func open(port uint16, why stay.Reason) stay.Opened {
	service := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), port)
	return stay.Opened{Result: client.Result{Address: service.Addr(), Service: service, Watched: true}, Reason: why, For: time.Second}
}

// TestEventLines: which events are printed, as text and as JSON.
func TestEventLines(t *testing.T) {
	offline := &client.OfflineError{Server: "gate", Hints: []string{"first", "second"}}
	events := []stay.Event{
		stay.Failed{Err: offline, Reason: stay.Start, Closed: true, Retry: 2 * time.Second}, stay.Failed{Err: offline, Reason: stay.Retry, Again: true},
		open(80, stay.Retry), open(80, stay.Renewal), stay.Moving{Reason: stay.Network}, open(80, stay.Network), stay.Moving{Reason: stay.Resume},
		stay.Failed{Err: offline, Reason: stay.Resume}, open(80, stay.Renewal), open(81, stay.Renewal), open(81, stay.Renewal),
	}
	want := []string{"failed", "open", "renewed", "moving", "open", "moving", "failed", "open", "open", "renewed", "stopped"}
	gate := make(chan struct{})
	close(gate)
	print := func(asJSON bool) (string, string) {
		out, errs := &reader{gate: gate}, &reader{gate: gate}
		lines := newEventLines(cli.Env{Stdout: out, Stderr: errs, Clock: clock.System()}, asJSON)
		for _, e := range events {
			lines.report(e)
		}
		lines.stopped()
		if err := lines.close(); err != nil {
			t.Error(err)
		}
		return out.text.String(), errs.text.String()
	}
	out, errs := print(true)
	var got []string
	for line := range strings.Lines(out) {
		var e stayEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, e.Event)
	}
	if !slices.Equal(got, want) || errs != "" {
		t.Errorf("events %q, want %q\n%s", got, want, errs)
	}
	out, errs = print(false)
	for i, words := range []string{
		"open    203.0.113.5:80\n", "moving  the network has changed\n", "open    203.0.113.5:80\n",
		"moving  this computer has resumed from sleep\n", "open    203.0.113.5:80\n", "open    203.0.113.5:81\n",
	} {
		if lines := strings.SplitAfter(out, "\n"); len(lines) != 7 || !strings.Contains(lines[i], words) {
			t.Fatalf("line %d lacks %q:\n%s", i, words, out)
		}
	}
	if strings.Count(errs, "  failed: gate seems offline") != 2 || strings.Count(errs, "\nhint: first\nhint: second\n") != 2 {
		t.Errorf("failures:\n%s", errs)
	}
}

// TestEventsThatNobodyReads: the client goes on, and the lines that follow have the number
// of those that are lost. An error of the output is the command's error.
func TestEventsThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		broken := errors.New("broken")
		out := &reader{gate: gate, err: broken}
		lines := newEventLines(cli.Env{Stdout: out, Clock: clock.System()}, true)
		for range 10 * maxWaiting {
			lines.report(open(80, stay.Renewal))
		}
		close(gate)
		synctest.Wait()
		lines.stopped()
		if err := lines.close(); !errors.Is(err, broken) {
			t.Errorf("closed with %v", err)
		}
		printed, lost, last := 0, 0, stayEvent{}
		for line := range strings.Lines(out.text.String()) {
			last = stayEvent{}
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Fatal(err)
			}
			printed, lost = printed+1, lost+last.Lost
		}
		if last.Event != "stopped" || last.Lost == 0 || printed-1+lost != 10*maxWaiting {
			t.Errorf("%d lines, the last one %+v", printed, last)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		lines := newEventLines(cli.Env{Stdout: &reader{gate: gate}, Clock: clock.System()}, true)
		lines.report(open(80, stay.Start))
		begun := time.Now()
		if err := lines.close(); err != nil || time.Since(begun) != closeTime {
			t.Errorf("closed after %s with %v", time.Since(begun), err)
		}
		close(gate)
	})
}
