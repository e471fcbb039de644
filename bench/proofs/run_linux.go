package proofs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"sallyport/bench/clock"
	"sallyport/bench/netns"
	"sallyport/bench/report"
	"sallyport/bench/target"
	"sallyport/verify/preamble"
)

// Config is the configuration of Run. All fields are required.
type Config struct {
	Server   string // sallyportd
	Rounds   int
	Window   time.Duration
	Progress func(done, of int, what string)
}

const (
	address         = "127.0.0.1"
	upstreamAddress = address + ":7002"
	clients         = 64
	pause           = 100 * time.Millisecond // after a window, for connections that still close
)

// service is a proxy of a server.
type service struct {
	name, address string
	proves        bool
}

// server is a server under test.
type server struct {
	*target.Server
	state          string
	disk           bool // its state is on the disk, not in memory
	relaxed        bool // a connection does not wait for the record of its nonce
	clients        []*knocker
	plain, proving service
}

// Run measures. The caller must be root in its namespaces, and must have no other network
// than the loopback.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	dir, err := os.MkdirTemp("", "proofs")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	if err := netns.LoopbackUp(); err != nil {
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
	cores, err := clock.Cores()
	if err != nil {
		return res, err
	}
	if err := clock.Avoid(cores[0]); err != nil {
		return res, err
	}
	up, err := startUpstream(upstreamAddress)
	if err != nil {
		return res, fmt.Errorf("start the upstream: %w", err)
	}
	defer up.listener.Close()
	b := &testbed{cfg: cfg, cores: cores, upstream: up}
	for _, s := range []*server{{state: "memory"}, {state: "memory, relaxed", relaxed: true}, {state: "disk", disk: true}} {
		where := memory
		if s.disk {
			where = dir
		}
		err := s.start(ctx, cfg.Server, filepath.Join(where, s.state), cores[0], 7100+10*len(b.servers), b.servers)
		if err != nil {
			return res, fmt.Errorf("the server with its state in %s: %w", s.state, err)
		}
		defer func() { err = errors.Join(err, s.Stop()) }()
		b.servers = append(b.servers, s)
	}
	return b.measure(ctx)
}

// start starts a server, and opens its services to all clients.
func (s *server) start(ctx context.Context, program, dir string, core, port int, beside []*server) error {
	at := func(i int) string { return fmt.Sprintf("%s:%d", address, port+i) }
	s.plain, s.proving = service{"plain", at(1), false}, service{"proving", at(2), true}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	more := ""
	for _, v := range []service{s.plain, s.proving} {
		bind := "address"
		if v.proves {
			bind = "connection"
		}
		more += fmt.Sprintf("[[service]]\nname = %q\ntype = \"proxy\"\nlisten = %q\nupstream = %q\nopen_for = \"10h\"\nopen_max = \"10h\"\n"+
			"max_connections = 4096\nbind = %q\n", v.name, v.address, upstreamAddress, bind)
	}
	cfg := target.ServerConfig{
		Binary: program, Dir: filepath.Join(dir, "server"), Address: address, Web: port, Ports: 1, Clients: clients,
		Strict: !s.relaxed, Core: core, More: more,
	}
	for _, other := range beside {
		cfg.Beside = append(cfg.Beside, other.Server)
	}
	var err error
	if s.Server, err = target.StartServer(ctx, cfg); err != nil {
		return err
	}
	var all errgroup.Group
	for _, p := range s.Profiles[:clients] {
		k := &knocker{profile: p, mac: preamble.SecretMAC(p.Secret)}
		s.clients = append(s.clients, k)
		all.Go(func() error { return k.open(ctx, dir, s.proving) })
	}
	if err := all.Wait(); err != nil {
		return errors.Join(err, s.Stop())
	}
	return nil
}

// testbed is all that Run has started.
type testbed struct {
	cfg      Config
	cores    []int
	upstream *upstream
	servers  []*server
}

// task is a row that is measured.
type task struct {
	server *server
	load   load
}

// tasks returns all rows. A bulk connection needs one record, whose place does not matter.
func (b *testbed) tasks() (all []task) {
	for _, s := range b.servers {
		for _, l := range loads {
			if l.transfer == 0 || !s.disk && !s.relaxed {
				all = append(all, task{s, l})
			}
		}
	}
	return all
}

func (b *testbed) measure(ctx context.Context) (res Result, err error) {
	tasks := b.tasks()
	for _, t := range tasks {
		res.Rows = append(res.Rows, Row{
			Name: t.load.name, State: t.server.state, Bytes: t.load.transfer != 0,
			Goal: !t.server.disk && (t.server.relaxed || t.load.clients > 1),
		})
	}
	for round := range b.cfg.Rounds {
		for i, t := range tasks {
			b.cfg.Progress(round*len(tasks)+i, b.cfg.Rounds*len(tasks), t.load.name+", "+t.server.state)
			p, steal, err := b.pair(ctx, t, round%2 == 1)
			if err != nil {
				return Result{}, fmt.Errorf("%s, state in %s: %w", t.load.name, t.server.state, err)
			}
			if steal > report.MaxSteal {
				res.Rows[i].Discarded++
			} else {
				res.Rows[i].Pairs = append(res.Rows[i].Pairs, p)
			}
		}
	}
	return res, nil
}

// pair measures both services; from one round to the next, another one is the first. It
// returns the largest share of a core that other machines took.
func (b *testbed) pair(ctx context.Context, t task, provingFirst bool) (p Pair, steal float64, err error) {
	type window struct {
		of service
		in *Sample
	}
	order := []window{{t.server.plain, &p.Plain}, {t.server.proving, &p.Proving}}
	if provingFirst {
		order[0], order[1] = order[1], order[0]
	}
	for _, w := range order {
		stolen := 0.0
		if *w.in, stolen, err = b.window(ctx, t, w.of); err != nil {
			return p, 0, fmt.Errorf("%s: %w", w.of.name, err)
		}
		steal = max(steal, stolen)
	}
	return p, steal, nil
}

func (b *testbed) window(ctx context.Context, t task, v service) (s Sample, steal float64, err error) {
	r, err := t.load.begin(t.server.clients, v, b.upstream)
	if err != nil {
		return s, 0, err
	}
	s, steal, err = b.sample(ctx, t, r)
	if err := errors.Join(err, r.stop()); err != nil {
		return s, 0, err
	}
	time.Sleep(pause)
	if s.Done == 0 {
		return s, 0, errors.New("nothing was done in the window")
	}
	return s, steal, nil
}

// sample measures for a window, while a load runs.
func (b *testbed) sample(ctx context.Context, t task, r running) (s Sample, steal float64, err error) {
	wait := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	wait(t.load.settling())
	ticks, err := clock.TicksOf(b.cores)
	if err != nil {
		return s, 0, err
	}
	used, err := t.server.Usage()
	if err != nil {
		return s, 0, err
	}
	begin, done := time.Now(), r.count.Load()
	wait(b.cfg.Window)
	s.Took, s.Done = time.Since(begin), r.count.Load()-done
	spent, err := t.server.Usage()
	if err != nil {
		return s, 0, err
	}
	s.Processor = spent.Processor - used.Processor
	after, err := clock.TicksOf(b.cores)
	return s, clock.MostStolen(ticks, after), errors.Join(err, ctx.Err())
}
