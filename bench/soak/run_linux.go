package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sallyport/verify/challenge/exchange"
)

// Config configures Run.
type Config struct {
	Server   string        // sallyportd
	For      time.Duration // of the schedule
	Seed     uint64
	Plant    bool // open a service by hand, and make no other action
	Progress func(done, of int, what string)
}

const (
	lookEach  = 50 * time.Millisecond
	warmUp    = 3 * time.Second
	afterEnd  = time.Second
	diskBytes = 8 << 20
	logEnd    = 4 << 10 // bytes of the log in an error
)

// soak is a run.
type soak struct {
	judge   *Judge
	server  *server
	clients *clients
	disk    string
	done    map[string]int  // actions
	rotated map[string]bool // clients
	looking sync.WaitGroup
}

// Run makes the run. The caller must be root in its namespaces, and alone in them. The log
// of the server is in the result.
func Run(ctx context.Context, cfg Config) (r Result, err error) {
	dir, err := os.MkdirTemp("", "floodbench")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	s := &soak{judge: NewJudge(), disk: filepath.Join(dir, "disk"), done: map[string]int{}, rotated: map[string]bool{}}
	if err := os.Mkdir(s.disk, 0o700); err != nil {
		return r, err
	}
	if err := unix.Mount("soak", s.disk, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", diskBytes)); err != nil {
		return r, fmt.Errorf("mount a small disk: %w", err)
	}
	defer unix.Unmount(s.disk, unix.MNT_DETACH)
	host, err := newNetwork(ctx)
	if err != nil {
		return r, fmt.Errorf("create the network: %w", err)
	}
	defer host.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return r, err
	}
	defer log.Close()
	s.server = &server{binary: cfg.Server, dir: filepath.Join(s.disk, "server"), host: host, judge: s.judge, log: log}
	defer func() {
		if s.server.cmd != nil {
			s.server.end(syscall.SIGKILL)
		}
		r.Log, _ = os.ReadFile(log.Name())
		if err != nil && len(r.Log) > 0 {
			err = fmt.Errorf("%w; the end of the server's log:\n%s", err, r.Log[max(0, len(r.Log)-logEnd):])
		}
	}()
	if s.clients, err = s.configure(ctx, dir); err != nil {
		return r, fmt.Errorf("configure the server: %w", err)
	}
	if s.clients.operation, err = exchange.NewOperation(operationID, secret, exchange.NATAware, false); err != nil {
		return r, err
	}
	begin := time.Now()
	if err := s.play(ctx, cfg); err != nil {
		return r, err
	}
	for _, protocol := range []string{"sequence", "exchange"} {
		if s.clients.in[protocol] == 0 {
			s.judge.Failed(time.Now(), "no client got in by a "+protocol)
		}
	}
	r.Seed, r.Planted, r.Seconds = cfg.Seed, cfg.Plant, time.Since(begin).Seconds()
	r.Actions, r.In = s.done, s.clients.in
	r.Counts, r.Violations = s.judge.Finish()
	return r, nil
}

// play runs everything, and compares the last server with the first one.
func (s *soak) play(ctx context.Context, cfg Config) error {
	looking, stop := context.WithCancel(ctx)
	defer s.looking.Wait()
	defer stop()
	if err := s.server.start(ctx); err != nil {
		return err
	}
	s.looking.Go(func() { s.clients.lookAsStranger(looking) })
	cfg.Progress(0, 3, "a server that has done almost nothing")
	if err := s.traffic(ctx, func(ctx context.Context) error {
		wait(ctx, warmUp)
		return nil
	}); err != nil {
		return err
	}
	wait(ctx, openFor+grace)
	before, err := s.server.usage(ctx)
	if err != nil {
		return err
	}
	if err := s.server.end(syscall.SIGQUIT); err != nil {
		return err
	}
	goroutines := s.server.dumped()
	if err := s.server.start(ctx); err != nil {
		return err
	}
	cfg.Progress(1, 3, "everything together")
	if err := s.traffic(ctx, func(ctx context.Context) error {
		begin := time.Now()
		random := rand.New(rand.NewPCG(cfg.Seed, 0))
		if cfg.Plant {
			return s.plant(ctx)
		}
		return s.act(ctx, random, begin, begin.Add(cfg.For))
	}); err != nil {
		return err
	}
	cfg.Progress(2, 3, "what is left")
	wait(ctx, openFor+grace)
	after, err := s.server.settled(ctx, before)
	if err != nil {
		return err
	}
	now := time.Now()
	s.judge.Acted(now, "end of the schedule")
	s.judge.Left(now, "processes", before.processes, after.processes)
	s.judge.Left(now, "descriptors", before.descriptors, after.descriptors)
	s.judge.Left(now, "set elements", 0, after.elements)
	s.judge.Left(now, "leases", 0, after.leases)
	if err := s.server.end(syscall.SIGQUIT); err != nil {
		return err
	}
	s.judge.Left(now, "goroutines", goroutines, s.server.dumped())
	if s.server.dumped() == 0 {
		s.judge.Failed(now, "the server has not printed its goroutines")
	}
	wait(ctx, afterEnd) // nothing opens while no server runs
	cfg.Progress(3, 3, "done")
	return ctx.Err()
}

// traffic makes the traffic of clients and attackers while f runs.
func (s *soak) traffic(ctx context.Context, f func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	for i := range active {
		group.Go(func() error { return s.clients.knock(ctx, i) })
	}
	group.Go(func() error { return s.clients.exchange(ctx) })
	group.Go(func() error { return s.clients.replay(ctx) })
	flooded, _ := s.clients.pick(0)
	group.Go(func() error { return flood(ctx, flooded) })
	group.Go(func() error {
		defer cancel()
		return f(ctx)
	})
	return group.Wait()
}
