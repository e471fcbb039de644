package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// Config configures Run. All fields are required, except Quick.
type Config struct {
	Server, Etcd string // the programs
	Tries        int    // of each row
	Window       time.Duration
	Quick        bool
	Progress     func(done, of int, what string)
}

// few and many are the numbers of clients.
const (
	few  = knocking
	many = 1_000_000
)

// numbers are those of the gateways of one testbed.
const numbers = 10

// idleWindow has a whole number of beats.
const idleWindow = 3 * beat

// part is testbeds that run at the same time, and are compared.
type part []Setup

func parts(quick bool) []part {
	if quick {
		return []part{{{Clients: few}, {Gateways: 3, Clients: few, Trip: 2}}}
	}
	return []part{
		{{Clients: few}, {Clients: many}, {Gateways: 1, Clients: few}, {Gateways: 1, Clients: many, Records: many}},
		{{Gateways: 3, Clients: few}},
		{{Gateways: 1, Clients: few, Trip: 2}, {Gateways: 3, Clients: few, Trip: 2}},
		{{Gateways: 1, Clients: few, Trip: 20}, {Gateways: 3, Clients: few, Trip: 20}},
	}
}

// loaded reports whether grants a second are measured in a setup.
func (cfg Config) loaded(s Setup) bool { return cfg.Quick || s.Trip == 0 && s.Clients == few }

// Run measures. The caller must be root in its namespaces, and must have no other network
// than those that Run makes.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	res.Quick = cfg.Quick
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(netns.LoopbackUp(), routeClients()); err != nil {
		return res, err
	}
	memory := filepath.Join(dir, "memory")
	if err := os.Mkdir(memory, 0o700); err != nil {
		return res, err
	}
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "mode=0700"); err != nil {
		return res, fmt.Errorf("mount a tmpfs: %w", os.NewSyscallError("mount", err))
	}
	defer func() { err = errors.Join(err, os.NewSyscallError("umount2", unix.Unmount(memory, unix.MNT_DETACH))) }()
	all := parts(cfg.Quick)
	for i, p := range all {
		cfg.Progress(i, len(all), p[len(p)-1].String())
		name := fmt.Sprintf("p%d", i)
		if err := res.measure(ctx, cfg, p, filepath.Join(dir, name), filepath.Join(memory, name)); err != nil {
			return Result{}, err
		}
	}
	cfg.Progress(len(all), len(all), "done")
	slices.SortStableFunc(res.Openings, func(a, b Opening) int { return a.compare(b.Setup) })
	return res, nil
}

// measure runs the testbeds of a part, and adds what it measures there.
func (r *Result) measure(ctx context.Context, cfg Config, p part, dir, memory string) (err error) {
	for _, d := range []string{dir, memory} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	var all, several []*testbed
	defer func() {
		for _, t := range all {
			err = errors.Join(err, t.stop())
		}
		err = errors.Join(err, os.RemoveAll(dir), os.RemoveAll(memory))
	}()
	for i, s := range p {
		name := fmt.Sprintf("t%d", i)
		t, err := newTestbed(ctx, cfg, s, 1+numbers*i, filepath.Join(dir, name), filepath.Join(memory, name))
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		all = append(all, t)
		if s.Gateways > 1 {
			several = append(several, t)
		}
		if cfg.Quick || s.Trip == 0 {
			started, err := t.start(ctx, time.Now().Add(-t.gateways[0].server.Ready))
			if err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
			r.Starts = append(r.Starts, started)
		}
		if err := t.warm(ctx); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	for _, shared := range []bool{false, true} {
		list := all
		if shared {
			list = several
		}
		rows, err := openings(ctx, list, shared, cfg.Tries)
		if err != nil {
			return fmt.Errorf("attempts one after the other: %w", err)
		}
		r.Openings = append(r.Openings, rows...)
	}
	for _, t := range all {
		if err := r.measureLoads(ctx, cfg, t); err != nil {
			return fmt.Errorf("%s, under load: %w", t.setup, err)
		}
	}
	return nil
}

func (r *Result) measureLoads(ctx context.Context, cfg Config, t *testbed) (err error) {
	if !cfg.loaded(t.setup) {
		return nil
	}
	if t.setup.Gateways > 1 && !cfg.Quick {
		if r.Idle, err = t.idle(ctx, idleWindow); err != nil {
			return err
		}
	}
	for _, g := range t.gateways {
		g.server.Unwatch()
	}
	for _, shared := range []bool{false, true}[:min(max(t.setup.Gateways, 1), 2)] {
		l, err := t.load(ctx, shared, cfg.Window)
		if err != nil {
			return err
		}
		r.Loads = append(r.Loads, l)
	}
	return nil
}
