package main

import (
	"sync"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/sessions/client/stay"
)

// maxWaiting is how many events wait for the reader of standard output.
const maxWaiting = 64

// eventLines prints the events of stay. A reader that does not read must not keep the
// client from knocking, so a goroutine prints.
type eventLines struct {
	env    cli.Env
	json   bool
	failed bool   // since the service was open last
	last   string // the last service that was printed

	queue chan stayEvent
	lost  int // events since the last one that found room in the queue
	done  chan struct{}

	mu  sync.Mutex
	err error // of printing
}

func newEventLines(env cli.Env, json bool) *eventLines {
	l := &eventLines{env: env, json: json, queue: make(chan stayEvent, maxWaiting), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for e := range l.queue {
			if err := l.print(e); err != nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
			}
		}
	}()
	return l
}

// report prints an event. It does not wait.
func (l *eventLines) report(e stay.Event) {
	switch e := e.(type) {
	case stay.Opened:
		l.opened(e)
	case stay.Moving:
		l.add(stayEvent{Event: "moving", Why: string(e.Reason)})
	case stay.Failed:
		if !l.failed {
			l.failed = true
			l.add(failedEvent(e))
		}
	}
}

func (l *eventLines) opened(e stay.Opened) {
	out := stayEvent{
		Event: "open", Why: string(e.Reason), Address: e.Result.Address.String(), Watched: e.Result.Watched, OpenForMS: e.For.Milliseconds(),
	}
	if e.Result.Service.IsValid() {
		out.Service = serviceText(e.Result)
	}
	if e.Reason == stay.Renewal && !l.failed && out.Service == l.last {
		out.Event = "renewed"
	}
	l.failed, l.last = false, out.Service
	l.add(out)
}

// stopped prints the last event.
func (l *eventLines) stopped() { l.add(stayEvent{Event: "stopped"}) }

func (l *eventLines) add(e stayEvent) {
	e.Time, e.Lost = l.env.Now().UTC(), l.lost
	select {
	case l.queue <- e:
		l.lost = 0
	default:
		l.lost++
	}
}

// closeTime is how long the end of the command waits for its events to be read.
const closeTime = 5 * time.Second

// close waits until all events are printed, and returns the last error.
func (l *eventLines) close() error {
	close(l.queue)
	select {
	case <-l.done:
	case <-time.After(closeTime):
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *eventLines) print(e stayEvent) error {
	if l.json {
		return l.env.Out().JSON(e)
	}
	if e.Event == "failed" {
		e.failure.Print(l.env.Err(), l.env.Time(e.Time)+"  failed")
		return nil
	}
	text := e.text()
	if text == "" {
		return nil
	}
	event := output.Cell{Text: e.Event, Colour: map[string]output.Colour{"open": output.Green}[e.Event]}
	time := output.Cell{Text: l.env.Time(e.Time)}
	return l.env.Out().Columns(len(output.TimeFormat), len("moving")).Print([]output.Cell{time, event, {Text: text}})
}
