package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

var (
	// ErrDead means that the holder is gone, or that the server has given it
	// up: nothing can be opened until there is another one.
	ErrDead = errors.New("the firewall's holder is gone")
	// ErrOtherConfiguration means that the holder has read another
	// configuration than the server.
	ErrOtherConfiguration = errors.New("the firewall's holder has read another configuration")
	// ErrOtherRelease means that the holder uses another version of the
	// messages than this server.
	ErrOtherRelease = errors.New("the firewall's holder is of another release")
)

const (
	// beginTime is the time in which the holder must answer the first request:
	// the holder before may not have ended yet.
	beginTime = 15 * time.Second
	// dialPause is the time between two attempts to connect to a holder.
	dialPause = 250 * time.Millisecond
)

// Conn is the server's end of the connection to the holder. Its methods may be
// called concurrently.
type Conn struct {
	clock clock.Clock
	times times
	// dial connects to an independent holder; nil: the holder is a child of the
	// server, and there is no other after it.
	dial func(context.Context) (net.Conn, error)

	mu     sync.Mutex // one request at a time
	buffer []byte     // for the request
	digest Digest

	linkMu sync.Mutex
	link   *link // nil until Begin has connected to a holder
}

// NewConn takes ownership of the socket to a holder that is a child of this
// process, and of the end of a pipe whose other end the holder keeps open while
// it lives. The clock must be that of the services.
func NewConn(socket *os.File, lifeline io.ReadCloser, c clock.Clock) (*Conn, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		lifeline.Close()
		return nil, fmt.Errorf("reach the firewall's holder: %w", err)
	}
	return &Conn{clock: c, times: usual, buffer: make([]byte, 0, maxRequest), link: newLink(conn, lifeline)}, nil
}

// NewDialingConn returns the connection to an independent holder, to which dial
// connects. The clock must be that of the services.
func NewDialingConn(dial func(context.Context) (net.Conn, error), c clock.Clock) *Conn {
	return &Conn{clock: c, times: usual, dial: dial, buffer: make([]byte, 0, maxRequest)}
}

// DialNext makes Run connect to an independent holder when the child of this process
// is gone, by dial. It must be called before Begin.
func (c *Conn) DialNext(dial func(context.Context) (net.Conn, error)) { c.dial = dial }

// Begin makes the holder claim the firewall for a server that has read a
// configuration with this digest. When it returns nil, everything is closed.
// For an independent holder, it retries until one answers or ctx ends. Errors
// may be ErrOtherConfiguration and ErrOtherRelease.
func (c *Conn) Begin(ctx context.Context, own Digest) error {
	c.mu.Lock()
	c.digest = own
	c.mu.Unlock()
	if l := c.current(); l != nil { // no other request comes before the first one
		return c.beginLink(l)
	}
	for {
		err := c.reach(ctx)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(dialPause):
		}
	}
}

// reach connects to an independent holder, and begins.
func (c *Conn) reach(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return fmt.Errorf("reach the firewall's holder: %w", err)
	}
	l := newLink(conn, nil)
	if err := c.beginLink(l); err != nil {
		return err
	}
	c.linkMu.Lock()
	c.link = l
	c.linkMu.Unlock()
	return nil
}

// beginLink sends the first request of a link. If it fails, it gives up the
// link. Nothing else uses a link that begins. So a revocation does not wait for a holder
// that does not answer.
func (c *Conn) beginLink(l *link) error {
	c.mu.Lock()
	own := c.digest
	c.mu.Unlock()
	b, err := l.call(appendBegin(nil, own), beginTime)
	if err == nil {
		err = parseBeginReply(b, own)
	}
	if err == nil {
		err = l.askSandbox()
	}
	if err != nil {
		l.fail(err)
	}
	return err
}

// current returns the current link; nil: there has been none.
func (c *Conn) current() *link {
	c.linkMu.Lock()
	defer c.linkMu.Unlock()
	return c.link
}

// Independent reports whether the holder is, or may be, one that runs independently.
func (c *Conn) Independent() bool { return c.dial != nil }

// Held reports whether there is a holder now, as far as is known.
func (c *Conn) Held() bool {
	l := c.current()
	if l == nil {
		return false
	}
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

// Events are called when an independent holder is lost or found, one at a time.
type Events struct {
	Lost  func(why error) // nothing can be opened; the leases in force may wait for the next holder
	Tried func(why error) // connecting to another one failed, or it refused
	Found func()          // everything is closed, and can be opened
	// Silent and Continues may be nil. Between them nothing can be opened, and leases stay.
	Silent    func()
	Continues func()
}

// Run watches the holder until ctx ends, and then returns nil. If a child of
// this process dies, it returns the error, unless DialNext was called. If an
// independent holder is lost, or Begin has reached none, Run connects to the next one.
func (c *Conn) Run(ctx context.Context, events Events) error {
	for {
		if l := c.current(); l != nil {
			c.watch(ctx, l, events)
			if ctx.Err() != nil {
				return nil
			}
			if c.dial == nil {
				return l.err
			}
			events.Lost(l.err)
		}
		for {
			err := c.reach(ctx)
			if err == nil {
				break
			}
			events.Tried(err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(dialPause):
			}
		}
		events.Found()
	}
}

// apply makes the holder carry out changes, those of a request in one
// transaction. It returns the error of each, or nil if there is none. Messages
// have no zones.
func (c *Conn) apply(changes []access.Change) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, 0, len(changes))
	failed := false
	for chunk := range slices.Chunk(changes, MaxChanges) {
		of, err := c.applySome(chunk)
		failed = failed || err != nil || of != nil
		for i := range chunk {
			switch {
			case err != nil:
				errs = append(errs, err)
			case of != nil:
				errs = append(errs, of[i])
			default:
				errs = append(errs, nil)
			}
		}
	}
	if !failed {
		return nil
	}
	return errs
}

func (c *Conn) applySome(changes []access.Change) ([]error, error) {
	b, err := appendChanges(c.buffer[:0], changes, c.clock.Boot())
	if err != nil {
		return nil, err
	}
	return c.call(b, len(changes))
}

// OpenKnockPorts opens UDP ports for knocks for a time, from now.
func (c *Conn) OpenKnockPorts(ports []uint16, lasts time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for chunk := range slices.Chunk(ports, MaxChanges) {
		b, err := appendPorts(c.buffer[:0], chunk, min(lasts, schedule.MaxOpen))
		if err != nil {
			return err
		}
		if err := c.ask(b); err != nil {
			return err
		}
	}
	return nil
}

// Reread makes the holder read the schedule of the knock ports again, and hide what the
// configuration newly hides, on trial if a time is asked for. Until
// settle is called, the ports of both schedules may be opened; then only those
// of the new one (commit), or of the old one.
func (c *Conn) Reread(asked *time.Duration) (settle func(commit bool) error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settle(c.current()) // the holder logs why it fails
	request, err := appendAsked(c.buffer[:0], kindReread, asked)
	if err != nil {
		return nil, err
	}
	if _, err := c.call(request, 0); err != nil {
		return nil, err
	}
	l := c.current()
	return func(commit bool) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		l.unsettled = &commit
		return c.settle(l)
	}, nil
}

// call sends a request with so many changes. The caller holds the lock.
func (c *Conn) call(request []byte, changes int) ([]error, error) {
	l := c.current()
	if l == nil {
		return nil, ErrDead
	}
	b, err := l.call(request, answerTime)
	if err != nil {
		return nil, err
	}
	errs, err := parseReply(b, changes)
	if errors.Is(err, errReply) {
		err = l.fail(err)
	}
	return errs, err
}

// fail gives up the holder.
func (c *Conn) fail(err error) error {
	if l := c.current(); l != nil {
		return l.fail(err)
	}
	return ErrDead
}

// Stop announces an orderly stop of the server, and closes the connection. If
// it returns nil, the holder has closed everything.
func (c *Conn) Stop() error {
	c.mu.Lock()
	_, err := c.call([]byte{byte(kindExit)}, 0)
	c.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("close the firewall: %w", err)
	}
	return errors.Join(err, c.Close())
}

// Close gives up the holder, which closes everything. It waits for the end of a
// child of this process, because in a container the child would not outlive
// this process.
func (c *Conn) Close() error {
	l := c.current()
	if l == nil {
		return nil
	}
	l.fail(nil)
	select {
	case <-l.ended:
		return nil
	case <-time.After(answerTime):
		return fmt.Errorf("the firewall's holder has not ended within %s", answerTime)
	}
}
