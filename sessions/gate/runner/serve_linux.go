package runner

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/program"
)

// MaxRuns is the maximum number of runs of one runner at the same time.
const MaxRuns = 256

// Config is what a runner needs.
type Config struct {
	Programs []program.Program // those that it may start; all of one user
	Lifeline *os.File          // its end, of which each supervisor gets a copy
	// Groups is the directory of a control group: each run gets one below it. This
	// process is in one below it, too. Nil: runs get none.
	Groups *os.File
	Clock  clock.Clock
	Log    *slog.Logger
}

// runner starts programs for the server.
type runner struct {
	Config
	server   *net.UnixConn
	base     []string      // the variables that all programs have
	children family        // supervisors are its own
	dropped  atomic.Uint64 // lines of output
	ready    chan struct{} // closed when nothing of an earlier server is left

	mu   sync.Mutex // guards the fields below
	mark string     // of the server's instance; empty: the server has not begun
	lock *os.File   // of the instance; nil: none
	runs map[uint32]*running
	all  sync.WaitGroup // of the runs
}

// Serve starts programs for the process at the other end of a connection, a socket of
// type SOCK_SEQPACKET, until that process closes it. It then stops all programs, and
// returns when none is left. The process must have dropped its privileges. Serve takes
// over the socket, and makes the process adopt orphans.
func Serve(server *os.File, cfg Config) error {
	conn, err := net.FileConn(server)
	server.Close()
	if err != nil {
		return fmt.Errorf("start programs: %w", err)
	}
	defer conn.Close()
	hideDescriptors()
	if err := ContinueAtEnd(); err != nil {
		return fmt.Errorf("start programs: %w", err)
	}
	if err := adopt(); err != nil {
		return fmt.Errorf("start programs: %w", err)
	}
	r := &runner{
		Config: cfg, server: conn.(*net.UnixConn), base: baseEnvironment(), children: family{own: map[int]bool{}},
		ready: make(chan struct{}), runs: map[uint32]*running{},
	}
	if err := r.send(message{kind: kindHello, digest: DigestOf(cfg.Programs)}); err != nil {
		return nil // the server has ended before it began
	}
	err = r.requests()
	r.mu.Lock()
	for _, of := range r.runs {
		of.stop()
	}
	r.mu.Unlock()
	r.all.Wait()
	return err
}

func (r *runner) send(m message) error {
	_, err := r.server.Write(m.append(nil))
	return err
}

// requests executes the server's requests until it closes the connection. The server
// may be in an attacker's hands: a request that it does not send itself ends the
// connection.
func (r *runner) requests() error {
	b, rights := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*maxRights))
	for {
		n, nRights, flags, _, err := r.server.ReadMsgUnix(b, rights)
		if n == 0 || errors.Is(err, unix.ECONNRESET) {
			closeAll(takeFiles(rights[:nRights]))
			return nil
		}
		if err != nil {
			return fmt.Errorf("read requests: %w", err)
		}
		passed := takeFiles(rights[:nRights])
		m, err := parse(b[:n], kindBegin, kindStart, kindStop)
		cut := flags&unix.MSG_CTRUNC != 0
		if err == nil && (flags&unix.MSG_TRUNC != 0 || cut && len(passed) > 0) {
			err = errMessage
		}
		switch {
		case err != nil:
			closeAll(passed)
		case cut && m.kind == kindStart:
			// The kernel drops a descriptor for which this process has no room.
			err = r.send(message{kind: kindEnded, run: m.run, err: "its listener was lost: " + unix.EMFILE.Error()})
		default:
			err = r.execute(m, passed)
		}
		if err != nil {
			return fmt.Errorf("read requests: %w", err)
		}
	}
}

// execute executes a request, and takes over the files. An error means that the server
// does not send such a request itself.
func (r *runner) execute(m message, passed []*os.File) error {
	taken := false
	defer func() {
		if !taken {
			closeAll(passed)
		}
	}()
	if len(passed) > 1 || m.kind == kindStop && len(passed) > 0 {
		return fmt.Errorf("%w: %d descriptors", errMessage, len(passed))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m.kind {
	case kindBegin:
		if r.mark != "" {
			return fmt.Errorf("%w: begin, twice", errMessage)
		}
		r.mark = markOf(m.mark)
		if taken = len(passed) > 0; taken {
			r.lock = passed[0] // until this process ends
		}
		go func() {
			defer close(r.ready)
			r.endEarlier(r.mark, r.lock)
		}()
	case kindStart:
		if r.runs[m.run] != nil {
			return fmt.Errorf("%w: run %d, twice", errMessage, m.run)
		}
		p, err := r.allowed(m, len(passed) > 0)
		if err == nil && len(passed) > 0 {
			err = checkListener(passed[0])
		}
		if err != nil {
			r.Log.Warn("request refused", "service", m.program.Service, "program", m.program.Role, "error", err)
			return r.send(message{kind: kindEnded, run: m.run, err: err.Error()})
		}
		var listener *os.File
		if taken = len(passed) > 0; taken {
			listener = passed[0]
		}
		r.start(p, m, listener)
	case kindStop:
		if of := r.runs[m.run]; of != nil { // else it has just ended
			of.stop()
		}
	}
	return nil
}

// allowed returns the program of a request, or why this runner does not start it. The
// caller holds the lock.
func (r *runner) allowed(m message, listener bool) (program.Program, error) {
	i := slices.IndexFunc(r.Programs, func(p program.Program) bool { return p.ID == m.program })
	switch {
	case r.mark == "":
		return program.Program{}, errors.New("the server has not begun")
	case i < 0:
		return program.Program{}, errors.New("the configuration has no such program")
	case r.Programs[i].Inherits != listener:
		return program.Program{}, fmt.Errorf("the program inherits a listener: %t", r.Programs[i].Inherits)
	case len(r.runs) >= MaxRuns:
		return program.Program{}, fmt.Errorf("%d programs of this user run already", MaxRuns)
	}
	return r.Programs[i], checkEnvironment(m.env)
}

// checkListener returns an error if a file is not a listening Unix socket: strangers
// could be at any other socket.
func checkListener(f *os.File) error {
	fd := int(f.Fd())
	for _, o := range []struct{ option, want int }{{unix.SO_DOMAIN, unix.AF_UNIX}, {unix.SO_TYPE, unix.SOCK_STREAM}, {unix.SO_ACCEPTCONN, 1}} {
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.option); err != nil || got != o.want {
			return errors.New("the program inherits a listener: expected a listening Unix socket, got another file")
		}
	}
	return nil
}

// ended reports the end of a run. The caller has removed nothing of it yet.
func (r *runner) ended(number uint32, err error) {
	text := ""
	if err != nil {
		text = clean(err.Error())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, number)
	// An error means that the server has ended, which requests notices.
	r.send(message{kind: kindEnded, run: number, dropped: r.dropped.Load(), err: text})
}

// maxRights is how many descriptors of a message are received: one more than a message
// may have.
const maxRights = 2

// takeFiles returns the files that came with a message.
func takeFiles(rights []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "listener"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// killTime is how long a supervisor may take to kill its processes; one that another
// process of its user has stopped never does. Tests have other times.
var killTime = 2 * time.Second

// ContinueAtEnd makes this process continue when the process that has started it ends: a
// program of the same user may have stopped it (SIGSTOP). It locks the goroutine to its
// thread, which must stay, and the process must not change its credentials afterwards.
func ContinueAtEnd() error {
	runtime.LockOSThread()
	return os.NewSyscallError("PR_SET_PDEATHSIG", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGCONT), 0, 0, 0))
}

// hideDescriptors keeps all descriptors from programs, except the standard streams. The
// process may have inherited others from the one that has started the server.
func hideDescriptors() {
	const first, last = 3, 1 << 16
	if unix.CloseRange(first, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := first; fd < last; fd++ { // before Linux 5.11
		unix.CloseOnExec(fd)
	}
}
