package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"sallyport/bench/opentime"
	"sallyport/bench/report"
)

// openings is how often each type of service is opened.
const openings = 300

// Config configures Run.
type Config struct {
	Server  string // path of sallyportd
	Command string // for the report
	Rounds  int
	Window  time.Duration
	Quick   bool
	// Progress is called before each window with the number of windows that are
	// done, their total, and the name of the next one.
	Progress func(done, of int, what string)
}

// benchRun is a run in progress.
type benchRun struct {
	cfg     Config
	dir     string
	network *network
	targets map[string]*tested
	started int    // servers so far
	shield  string // the target whose shield is at the driver; "": none
	// untranslate ends the translation of addresses for that target; nil: there is none.
	untranslate func() error
	began       time.Time
	results     results

	// Results of the last windows, by which the next ones are planned.
	offered  float64 // frames a second at the highest load
	capacity float64 // packets a second that the shipped server receives
}

// Run measures. The process must be alone in its namespaces (see Attributes). Run
// floods only the network that it creates there. It ends when ctx ends.
func Run(ctx context.Context, cfg Config) (res report.Result, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &benchRun{cfg: cfg, targets: map[string]*tested{}, began: time.Now(), offered: 2e6, capacity: 1e6}
	if r.network, err = newNetwork(); err != nil {
		return res, err
	}
	defer r.network.close()
	m, err := machine()
	if err != nil {
		return res, err
	}
	if r.dir, err = os.MkdirTemp("", "floodbench"); err != nil {
		return res, fmt.Errorf("create a directory for the servers: %w", err)
	}
	defer os.RemoveAll(r.dir)
	p := fullPlan
	if cfg.Quick {
		p = quickPlan
	}
	var omitted []string
	if missing := r.shieldMissing(ctx); missing != "" {
		p = p.without()
		omitted = append(omitted, "all rows with the shield: "+missing)
	}
	if err := r.startServers(ctx, p.servers...); err != nil {
		return res, err
	}
	if err := r.play(ctx, p); err != nil {
		return res, err
	}
	res = r.results.result(cfg, r.targets)
	res.Machine, res.Omitted = m, omitted
	res.Conditions.Generator, res.Conditions.ReceivePaidBy = r.network.generator.Name(), r.network.receiver
	if err := r.stopServers(); err != nil {
		return res, err
	}
	// Last, because it makes the kernel track this host's connections.
	res.Openings, err = opentime.Measure(openings)
	return res, err
}

// play measures all windows of the plan.
func (r *benchRun) play(ctx context.Context, p plan) error {
	steps := (len(p.compared)*p.repeats + len(p.once) + len(p.turns)) * r.cfg.Rounds
	done := 0
	play := func(run int, s step) error {
		r.cfg.Progress(done, steps, s.String())
		done++
		if err := r.step(ctx, run, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		return nil
	}
	var turns []step
	for i := range r.cfg.Rounds * p.repeats {
		list := p.compared
		if i%p.repeats == 0 {
			list = slices.Concat(p.compared, p.once)
			turns = slices.Clone(p.turns)
		}
		for _, s := range list {
			if len(turns) > 0 && turnSoon(time.Now()) {
				if err := play(i, turns[0]); err != nil {
					return err
				}
				turns = turns[1:]
			}
			if err := play(i, s); err != nil {
				return err
			}
		}
		if (i+1)%p.repeats != 0 {
			continue // the round goes on
		}
		for _, s := range turns {
			if err := play(i, s); err != nil {
				return err
			}
		}
	}
	r.cfg.Progress(steps, steps, "done")
	return r.guard(ctx, "")
}

// tries is how often a window is measured, at most, until one is kept.
const tries = 3

// step measures one window. It repeats a window in which other machines took too
// much of a core.
func (r *benchRun) step(ctx context.Context, run int, s step) (err error) {
	t, err := r.target(ctx, s)
	if err != nil {
		return err
	}
	if t.sink != nil {
		defer func() {
			if e := t.sink.Stop(); err == nil {
				err = e
			}
		}()
	}
	for range tries {
		stream, attempts, err := r.stream(ctx, t, s)
		if err != nil {
			return err
		}
		w, err := r.measure(ctx, t, stream, attempts, s.load == asked)
		if err != nil {
			return err
		}
		again := r.results.add(run, s, w)
		if !again {
			break
		}
	}
	w, ok := r.results.find(run, s)
	if ok && s.load == highest && s.target == shipped && s.kind == "bad-magic" {
		r.offered = float64(w.host.offered) / w.seconds
		if !s.honest {
			r.capacity = float64(w.host.arrived) / w.seconds
		}
	}
	return nil
}

func (r *benchRun) target(ctx context.Context, s step) (*tested, error) {
	if err := r.guard(ctx, s.target); err != nil {
		return nil, err
	}
	if sinks[s.target] != "" {
		return r.startSink(ctx, s.target)
	}
	return r.targets[s.target], nil
}
