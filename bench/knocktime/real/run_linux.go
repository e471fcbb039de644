package real

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"sallyport/bench/clock"
	"sallyport/bench/knocktime"
)

// Config configures Run.
type Config struct {
	Server, Client string // the paths of sallyportd and sallyport
	Rows           []knocktime.Row
	Rounds         int // exchanges of each row
	Curves         []Plan
	Trials         int // exchanges of each point
	// Progress is called before each row and configuration with the number of those that are
	// done, their total, and the name of the next one.
	Progress func(done, of int, what string)
}

func (c Config) programs() programs { return programs{c.Server, c.Client} }

// steps returns how many rows and configurations there are.
func (c Config) steps() (n int) {
	for _, r := range c.Rows {
		n += len(encodings(r))
	}
	return n + len(c.Curves)
}

// runtimeThreads is how many threads may run goroutines: the relay's, and many others.
const runtimeThreads = 16

// run is a run in progress.
type run struct {
	cfg     Config
	dir     string
	network *network
	cores   []int
	done    int // rows and plans
	// exchanges is the number of those made so far for rows.
	exchanges int
	streams   uint64 // of random numbers, used so far by the exchanges of curves
}

// Run measures. The caller must be root in its namespaces. Run creates its own
// networks, and removes them. It ends when ctx ends.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	r := &run{cfg: cfg}
	// A thread of the relay that returns from the kernel must find the runtime ready for
	// it, also while threads with a lower priority wait for a core.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtimeThreads))
	if r.cores, err = clock.Cores(); err != nil {
		return res, err
	}
	if r.dir, err = os.MkdirTemp("", "floodbench"); err != nil {
		return res, fmt.Errorf("create a directory for the servers: %w", err)
	}
	defer os.RemoveAll(r.dir)
	if r.network, err = newNetwork(r.cores[0]); err != nil {
		return res, err
	}
	defer r.network.close()
	if res.Rows, err = r.rows(ctx); err != nil {
		return res, err
	}
	if res.Points, err = r.curves(ctx); err != nil {
		return res, err
	}
	cfg.Progress(cfg.steps(), cfg.steps(), "done")
	return res, nil
}

func (r *run) progress(what string) {
	r.cfg.Progress(r.done, r.cfg.steps(), what)
	r.done++
}
