package runner

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/program"
)

var (
	// ErrLost means that the runner has ended, or was given up: its programs end with
	// it, and it starts no other.
	ErrLost = errors.New("the process that starts programs has ended")
	// ErrOtherConfiguration means that the runner knows other programs than the
	// server.
	ErrOtherConfiguration = errors.New("the process that starts programs has read another configuration")
)

const (
	// helloTime is how long a runner may take to begin. Its end is noticed at once.
	helloTime = time.Minute
	// writeTime is how long a runner may take to read a message.
	writeTime = 5 * time.Second
	// wakePause is the time between two SIGCONT to a runner that has to end a run.
	wakePause = time.Second
)

// Conn is the server's end of the connection to a runner. It implements
// program.Starter. Its methods may be called concurrently.
type Conn struct {
	programs []program.Program
	conn     *net.UnixConn
	link     Link
	lost     chan struct{} // closed when the runner is given up
	ended    chan struct{} // closed when no process of it is left

	mu      sync.Mutex // guards the fields below
	runs    map[uint32]*run
	next    uint32
	err     error // set before lost is closed
	dropped uint64
}

// Connect takes ownership of the link, waits until the runner has begun, and returns
// an error if it does not know exactly these programs.
func Connect(l Link, programs []program.Program) (*Conn, error) {
	conn, err := net.FileConn(l.Socket)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("reach the process that starts programs: %w", err)
	}
	l.Socket.Close()
	l.Socket = nil
	c := &Conn{
		programs: programs, conn: conn.(*net.UnixConn), link: l, runs: map[uint32]*run{},
		lost: make(chan struct{}), ended: make(chan struct{}),
	}
	b := make([]byte, maxMessage+1)
	if err := c.verify(b); err != nil {
		conn.Close()
		l.Close()
		return nil, fmt.Errorf("wait for the process that starts programs: %w", err)
	}
	go c.read(b)
	go c.awaitEnd()
	return c, nil
}

// verify receives the runner's first message.
func (c *Conn) verify(b []byte) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	n, err := c.conn.Read(b)
	if n == 0 && (err == nil || !errors.Is(err, os.ErrDeadlineExceeded)) {
		return ErrLost
	}
	if err != nil {
		return err
	}
	m, err := parse(b[:n], kindHello)
	if err == nil && m.digest != DigestOf(c.programs) {
		err = ErrOtherConfiguration
	}
	return errors.Join(err, c.conn.SetReadDeadline(time.Time{}))
}

// Begin allows the runner to start programs, for a server with this instance: the path
// of a directory that no other server of this host has while it runs, such as its state
// directory. First the runner waits for the runner of an earlier server of this
// instance, and ends programs that this one has left. Before Begin, the runner refuses
// each start.
func (c *Conn) Begin(instance string) error {
	sum := sha256.Sum256([]byte(instance))
	lock := openLock(instance)
	if lock != nil {
		defer lock.Close() // the runner has a copy
	}
	return c.send(message{kind: kindBegin, mark: [markSize]byte(sum[:])}, lock)
}

// Start implements program.Starter. It fails if the configuration has no such program
// for this runner, if the request sets other variables than those of a request, if the
// program inherits a listener and the request has none, or the reverse, or if the
// runner has ended (ErrLost).
func (c *Conn) Start(r program.Request) (program.Run, error) {
	i := slices.IndexFunc(c.programs, func(p program.Program) bool { return p.ID == r.Program })
	if i < 0 {
		return nil, fmt.Errorf("no program %s of service %s", r.Program.Role, r.Program.Service)
	}
	if c.programs[i].Inherits != (r.Listener != nil) {
		return nil, fmt.Errorf("program %s of service %s: inherits a listener: %t, was given one: %t",
			r.Program.Role, r.Program.Service, c.programs[i].Inherits, r.Listener != nil)
	}
	if err := checkEnvironment(r.Env); err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.next++
	started := &run{conn: c, number: c.next, done: make(chan struct{})}
	c.runs[started.number] = started
	c.mu.Unlock()
	err := c.send(message{kind: kindStart, run: started.number, program: r.Program, env: r.Env}, r.Listener)
	if err != nil {
		c.finish(started.number, err)
		return nil, fmt.Errorf("start program %s of service %s: %w", r.Program.Role, r.Program.Service, err)
	}
	return started, nil
}

// Programs are the programs that the runner may start. The caller must not change
// them.
func (c *Conn) Programs() []program.Program { return c.programs }

// Lost is closed when the runner has ended, or was given up because it broke the
// protocol. Each run then ends with an error as soon as no process of it is left.
func (c *Conn) Lost() <-chan struct{} { return c.lost }

// Err returns, after Lost, why. It is ErrLost, or wraps it.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Dropped is how many lines of output of its programs the runner has dropped since
// its start, as of the last run that has ended.
func (c *Conn) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// send sends a message. If that fails, the runner is given up: it may have lost a part
// of it.
func (c *Conn) send(m message, pass *os.File) error {
	var rights []byte
	if pass != nil {
		// A copy, since the owner may close its own at any time.
		fd, err := duplicate(pass)
		if err != nil {
			return fmt.Errorf("pass the listener: %w", err)
		}
		defer unix.Close(fd)
		rights = syscall.UnixRights(fd)
	}
	// A deadline uses the timers of this process, and so time.Now.
	err := c.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if err == nil {
		_, _, err = c.conn.WriteMsgUnix(m.append(nil), rights, nil)
	}
	if err != nil {
		c.giveUp(err)
		return c.Err()
	}
	return nil
}

// duplicate returns a copy of a file's descriptor, and leaves the file as it is.
func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	failed := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) })
	return fd, errors.Join(failed, err)
}

// read receives messages until the connection ends.
func (c *Conn) read(b []byte) {
	for {
		n, err := c.conn.Read(b)
		if err != nil || n == 0 {
			c.giveUp(nil)
			return
		}
		m, err := parse(b[:n], kindEnded)
		if err == nil && !c.report(m) {
			err = fmt.Errorf("%w: run %d does not run", errMessage, m.run)
		}
		if err != nil {
			c.giveUp(err)
			return
		}
	}
}

// report ends a run as the runner reports, and returns false if there is no such run.
func (c *Conn) report(m message) bool {
	c.mu.Lock()
	c.dropped = m.dropped
	c.mu.Unlock()
	var err error
	if m.err != "" {
		err = errors.New(clean(m.err))
	}
	return c.finish(m.run, err)
}

// finish ends a run, and returns false if there is no such run.
func (c *Conn) finish(number uint32, err error) bool {
	c.mu.Lock()
	r := c.runs[number]
	delete(c.runs, number)
	c.mu.Unlock()
	if r == nil {
		return false
	}
	r.end(err)
	return true
}

// run implements program.Run.
type run struct {
	conn   *Conn
	number uint32
	done   chan struct{}
	err    error // set before done is closed
	waking sync.Once
}

func (r *run) end(err error) {
	r.err = err
	close(r.done)
}

// Stop implements program.Run.
func (r *run) Stop() {
	select {
	case <-r.done:
	default:
		r.conn.send(message{kind: kindStop, run: r.number}, nil)
		r.waking.Do(func() { go r.conn.wakeUntil(r.done) })
	}
}

// Done implements program.Run.
func (r *run) Done() <-chan struct{} { return r.done }

// Err implements program.Run.
func (r *run) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}
