package real

import (
	"context"
	"fmt"
	"os"

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
	// Progress is called before each row and point with the number of those that are
	// done, their total, and the name of the next one.
	Progress func(done, of int, what string)
}

func (c Config) programs() programs { return programs{c.Server, c.Client} }

// steps returns how many rows and points there are.
func (c Config) steps() (n int) {
	for _, r := range c.Rows {
		n += len(r.Encodings())
	}
	for _, p := range c.Curves {
		n += len(p.places)
	}
	return n
}

// run is a run in progress.
type run struct {
	cfg     Config
	dir     string
	network *network
	cores   []int
	servers int // started so far
	points  int // measured so far
	done    int // rows and points
	most    float64
}

// Run measures. The caller must be root in its namespaces. Run creates its own
// networks, and removes them. It ends when ctx ends.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	r := &run{cfg: cfg}
	if r.cores, err = clock.Cores(); err != nil {
		return res, err
	}
	if r.dir, err = os.MkdirTemp("", "floodbench"); err != nil {
		return res, fmt.Errorf("create a directory for the servers: %w", err)
	}
	defer os.RemoveAll(r.dir)
	if r.network, err = newNetwork(); err != nil {
		return res, err
	}
	defer r.network.close()
	if res.Rows, err = r.rows(ctx); err != nil {
		return res, err
	}
	if res.Points, err = r.curves(ctx); err != nil {
		return res, err
	}
	res.Stolen = r.most
	cfg.Progress(cfg.steps(), cfg.steps(), "done")
	return res, nil
}

func (r *run) progress(what string) {
	r.cfg.Progress(r.done, r.cfg.steps(), what)
	r.done++
}
