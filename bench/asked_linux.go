package bench

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/bench/report"
	"sallyport/bench/scenario"
)

const (
	// askPause is the time between the beginnings of two requests to the admin socket,
	// unless the one before takes longer: 20 a second.
	askPause = 50 * time.Millisecond
	// askTime is how long a request may take.
	askTime = 10 * time.Second
)

// askedPaths are requests that an administrator makes during a flood, in turn.
var askedPaths = []string{"/v1/status", "/v1/metrics", "/v1/leases"}

// answers are the answers of the admin socket in a window.
type answers struct {
	took *hdrhistogram.Histogram // µs, from before the connection to the last byte; nil: it was not asked
	err  error                   // of the last request without an answer
}

// ask asks a server again and again, each time by a new connection, as commands do.
// stop ends that, and returns the answers.
func ask(ctx context.Context, t *tested) (stop func() answers) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan answers)
	go func() {
		all := answers{took: hdrhistogram.New(1, askTime.Microseconds(), 3)}
		ticker := time.NewTicker(askPause)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				result <- all
				return
			}
			// A request that has begun is answered: the flood's end must not shorten it.
			inTime, end := context.WithTimeout(context.WithoutCancel(ctx), askTime)
			took, err := t.server.Ask(inTime, askedPaths[i%len(askedPaths)])
			end()
			if err != nil {
				all.err = err
			} else {
				all.took.RecordValue(max(1, took.Microseconds()))
			}
		}
	}()
	return func() answers {
		cancel()
		return <-result
	}
}

// askedSteps are the windows in which the server is asked: all kinds of flood at the
// highest rate, for each place that can refuse.
func askedSteps() (steps []step) {
	for _, target := range []string{shipped, unfiltered, shielded} { // a change to the shield takes longer than a window
		for _, k := range scenario.All {
			if k.Ports != 3 && !k.Alone {
				steps = append(steps, step{k.Name, target, asked, true})
			}
		}
	}
	return append(steps, step{"bad-mac", manyClients, asked, true})
}

// answered returns a quantile of the answers in all windows of each run, in milliseconds.
func (b *results) answered(runs int, q float64) report.Spread {
	var figures []float64
	for run := range runs {
		all := hdrhistogram.New(1, askTime.Microseconds(), 3)
		for _, e := range b.entries {
			if e.run == run && e.answers.took != nil {
				all.Merge(e.answers.took)
			}
		}
		if all.TotalCount() > 0 {
			figures = append(figures, ms(all.ValueAtQuantile(q)))
		}
	}
	return report.SpreadOf(figures)
}
