package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/program"
)

// running is a run, as its runner has it: a supervisor, and what it has reported.
type running struct {
	*runner
	program program.Program
	number  uint32
	stopped chan struct{} // closed by stop
	once    sync.Once
}

// stop makes the run end. It may be called again.
func (r *running) stop() { r.once.Do(func() { close(r.stopped) }) }

// start begins a run, and takes over the listener. The caller holds the lock.
func (r *runner) start(p program.Program, m message, listener *os.File) {
	of := &running{runner: r, program: p, number: m.run, stopped: make(chan struct{})}
	r.runs[m.run] = of
	r.all.Go(func() {
		err := of.run(m.env, listener)
		if listener != nil {
			listener.Close()
		}
		r.ended(of.number, err)
	})
}

// run runs the program. It returns when no process of the run is left.
func (r *running) run(env []string, listener *os.File) error {
	select {
	case <-r.ready:
	case <-r.stopped:
		return errors.New("stopped before it began")
	}
	s, err := r.supervise(env, listener)
	if err != nil {
		return err
	}
	return r.attend(s)
}

// attend ends the run when it must, and returns when no process of it is left.
func (r *running) attend(s *supervised) error {
	ctx, end := context.WithCancel(context.Background())
	var streams sync.WaitGroup
	defer streams.Wait()
	defer end()
	log := r.Log.With("service", r.program.Service, "program", string(r.program.Role))
	began, pid := r.Clock.Monotonic(), uint32(0)
	reports := make(chan report)
	go s.read(reports)
	var limit, kill <-chan time.Time
	if r.program.TimeLimit > 0 {
		limit = time.After(r.program.TimeLimit)
	}
	copyStreams := func() {
		for name, from := range s.streams {
			o := &output{from: from, log: log.With("stream", name), now: r.Clock.Monotonic, dropped: &r.dropped}
			streams.Go(func() { o.copy(ctx) })
		}
		s.streams = nil
	}
	var result error = errors.New("its supervisor has ended")
	terminate := func() {
		if kill == nil {
			kill = time.After(r.program.StopAfter)
		}
		if pid != 0 { // else no process could get the signal yet
			s.send(commandTerminate)
		}
	}
	var late bool
	stopped := r.stopped
	for {
		select {
		case <-stopped:
			stopped = nil
			terminate()
		case <-limit:
			late = true
			terminate()
		case <-kill:
			s.kill()
		case m, more := <-reports:
			switch {
			case !more:
				copyStreams() // a supervisor that fails writes there, too
				if err := r.bury(s); err != nil {
					log.Error("processes of a program cannot be killed", "error", err)
				}
				if late {
					result = fmt.Errorf("it ran longer than its time limit of %s", r.program.TimeLimit)
				}
				if pid != 0 && r.program.Role == program.Server {
					log.Info("program ended", "took", r.Clock.Monotonic().Sub(began).Round(time.Millisecond))
				}
				return result
			case m.kind == reportStarted:
				pid = m.pid
				log = log.With("pid", pid)
				if r.program.Role == program.Server {
					log.Info("program started")
				}
				copyStreams()
				if kill != nil { // it was stopped while it started
					terminate()
				}
			case m.kind == reportFailed:
				result = errors.New(m.err)
			case m.kind == reportEnded:
				result = statusError(syscall.WaitStatus(m.status))
				if m.left {
					if kill == nil {
						log.Warn("program left processes behind; stopping them")
					}
					terminate()
				}
			}
		}
	}
}

// statusError returns why a process has not ended with exit code 0.
func statusError(s syscall.WaitStatus) error {
	switch {
	case s.Signaled():
		return fmt.Errorf("ended by %s", unix.SignalName(s.Signal()))
	case s.ExitStatus() != 0:
		return fmt.Errorf("exit code %d", s.ExitStatus())
	}
	return nil
}

// supervised is a supervisor, as its runner sees it.
type supervised struct {
	pid     int
	control net.Conn            // each read and write is a message
	streams map[string]*os.File // the program's output
	group   *Group              // nil: none
}

// supervise starts a supervisor for the program.
func (r *running) supervise(env []string, listener *os.File) (*supervised, error) {
	fail := func(err error) (*supervised, error) { return nil, fmt.Errorf("start its supervisor: %w", err) }
	o := order{
		Args: r.program.Args, Dir: r.program.Dir, Limits: r.program.Limits, Listener: listener != nil,
		Env: environment(r.base, r.program.Env, env, []string{instanceName + "=" + r.mark}),
	}
	var files []*os.File // of the supervisor
	s := &supervised{streams: map[string]*os.File{}}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	add := func(f *os.File, err error) error {
		if err == nil {
			files = append(files, f)
		}
		return err
	}
	abandon := func() {
		if s.control != nil {
			s.control.Close()
		}
		for _, f := range s.streams {
			f.Close()
		}
		r.removeGroup(s.group)
	}
	if err := add(os.Open(os.DevNull)); err != nil {
		return fail(err)
	}
	for _, name := range []string{"stdout", "stderr"} {
		read, write, err := os.Pipe()
		if err != nil {
			abandon()
			return fail(err)
		}
		s.streams[name] = read
		files = append(files, write)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		abandon()
		return fail(err)
	}
	files = append(files, os.NewFile(uintptr(pair[1]), "control"))
	ours := os.NewFile(uintptr(pair[0]), "supervisor")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err == nil {
		s.control = conn
		err = add(memoryFile("order", o.encode()))
	}
	if err == nil {
		s.group = r.newGroup()
		err = add(s.group.entry())
	}
	if err != nil {
		abandon()
		return fail(err)
	}
	// One thread for Go's code is enough. If the program has stopped the supervisor, it
	// continues when the runner ends, and kills.
	attr := &syscall.ProcAttr{Env: []string{"GOMAXPROCS=1"}, Sys: &syscall.SysProcAttr{Pdeathsig: unix.SIGCONT}}
	for _, f := range append(files, r.Lifeline, listener) {
		if f != nil {
			attr.Files = append(attr.Files, f.Fd())
		}
	}
	// No sweep for orphans may take the supervisor for one.
	r.children.Lock()
	defer r.children.Unlock()
	if s.pid, err = syscall.ForkExec("/proc/self/exe", []string{os.Args[0], superviseName}, attr); err != nil {
		abandon()
		return fail(err)
	}
	r.children.own[s.pid] = true
	return s, nil
}

// send sends a command. If the supervisor does not read it in time, it is killed.
func (s *supervised) send(command byte) {
	s.control.SetWriteDeadline(time.Now().Add(killTime))
	if _, err := s.control.Write([]byte{command}); err != nil {
		s.control.Close()
	}
}

// kill makes the supervisor kill all processes of its run, and is called once.
func (s *supervised) kill() {
	s.send(commandKill)
	// It ends then. If it does not, it was stopped: read then fails.
	s.control.SetReadDeadline(time.Now().Add(killTime))
}

// read passes on reports until the supervisor has ended, or must be killed.
func (s *supervised) read(to chan<- report) {
	defer close(to)
	b := make([]byte, maxReport+1)
	for {
		n, err := s.control.Read(b)
		if err != nil || n == 0 {
			return
		}
		m, err := parseReport(b[:n])
		if err != nil {
			return
		}
		to <- m
	}
}

// bury kills a supervisor that has not ended, and all orphans that this process adopts
// from it, and reaps all of them.
func (r *running) bury(s *supervised) error {
	s.control.Close()
	r.children.Lock()
	delete(r.children.own, s.pid)
	r.children.Unlock()
	if s.group != nil {
		// The kernel kills all at once. The sweep ends those that have left the group.
		s.group.Kill.WriteString("1")
	}
	return errors.Join(r.sweep(), r.removeGroup(s.group))
}

// sweep kills all orphans, until none is left.
func (r *runner) sweep() error {
	for pause := minSweep; ; pause = min(2*pause, maxSweep) {
		r.children.Lock()
		some, err := r.children.reapOrphans()
		if err == nil && some {
			err = r.children.signal(unix.SIGKILL)
		}
		r.children.Unlock()
		if err != nil || !some {
			return err
		}
		time.Sleep(pause)
	}
}
