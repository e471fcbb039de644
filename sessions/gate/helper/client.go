package helper

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
	// ErrDead says that the holder is gone, or was given up: nothing can be
	// opened until there is another one.
	ErrDead = errors.New("the firewall's holder is gone")
	// ErrOtherConfiguration says that the holder has not read the configuration
	// that the server has.
	ErrOtherConfiguration = errors.New("the firewall's holder has read another configuration")
	// ErrOtherRelease says that the holder does not speak this server's version
	// of the messages.
	ErrOtherRelease = errors.New("the firewall's holder is of another release")
)

const (
	// beginTime is how long the holder may take to begin: the one before may
	// still be about to end.
	beginTime = 15 * time.Second
	// dialPause is the time between two attempts to reach a holder.
	dialPause = 250 * time.Millisecond
)

// Conn is the server's end. Its methods may be called concurrently.
type Conn struct {
	clock clock.Clock
	// dial reaches a holder that goes on by itself; nil: the holder is a child
	// of the server, and there is no other.
	dial func(context.Context) (net.Conn, error)

	mu     sync.Mutex // one request at a time
	buffer []byte     // for the request
	digest Digest

	at   sync.Mutex
	link *link // nil until Begin has reached a holder
}

// NewConn takes over the socket that leads to a holder that is a child of this
// process, and the end of a pipe whose other end the holder has for as long as it
// lives. The clock is the one of the services.
func NewConn(socket *os.File, lifeline io.ReadCloser, c clock.Clock) (*Conn, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		lifeline.Close()
		return nil, fmt.Errorf("reach the firewall's holder: %w", err)
	}
	return &Conn{clock: c, buffer: make([]byte, 0, maxRequest), link: newLink(conn, lifeline)}, nil
}

// NewDialingConn returns the client of a holder that goes on by itself, which dial
// reaches. The clock is the one of the services.
func NewDialingConn(dial func(context.Context) (net.Conn, error), c clock.Clock) *Conn {
	return &Conn{clock: c, dial: dial, buffer: make([]byte, 0, maxRequest)}
}

// Begin has the holder claim the firewall for a server that has read a
// configuration with this digest. When it returns nil, everything is closed. Of
// a holder that goes on by itself, it waits for one to answer until ctx
// ends. Errors may be
// ErrOtherConfiguration and ErrOtherRelease.
func (c *Conn) Begin(ctx context.Context, own Digest) error {
	c.mu.Lock()
	c.digest = own
	c.mu.Unlock()
	if c.dial == nil {
		return c.hello(c.current())
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

// reach connects to a holder that goes on by itself, and begins.
func (c *Conn) reach(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return fmt.Errorf("reach the firewall's holder: %w", err)
	}
	l := newLink(conn, nil)
	if err := c.hello(l); err != nil {
		return err
	}
	c.at.Lock()
	c.link = l
	c.at.Unlock()
	return nil
}

// hello is the first request of a link. If it fails, the link is given up.
func (c *Conn) hello(l *link) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := l.ask(appendBegin(c.buffer[:0], c.digest), beginTime)
	if err == nil {
		err = parseHello(b, c.digest)
	}
	if err != nil {
		l.lost(err)
	}
	return err
}

// current is the link of now; nil: there has never been one.
func (c *Conn) current() *link {
	c.at.Lock()
	defer c.at.Unlock()
	return c.link
}

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

// Events are what becomes of a holder that goes on by itself. One of them is
// called at a time.
type Events struct {
	Lost  func(why error) // nothing can be opened, and what was open is void
	Tried func(why error) // another one was not reached, or has refused
	Found func()          // everything is closed, and can be opened
}

// Run watches the holder until ctx ends, and then returns nil. If a child of this
// process dies, it returns why. Of a holder that goes on by itself it reaches the
// next one.
func (c *Conn) Run(ctx context.Context, events Events) error {
	for {
		l := c.current()
		select {
		case <-ctx.Done():
			return nil
		case <-l.gone:
		}
		if c.dial == nil {
			return l.why
		}
		events.Lost(l.why)
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

// apply has the holder carry out changes: those of a request in one transaction.
// It returns the error of each, or nil if there is none. Zones are left out.
func (c *Conn) apply(changes []access.Change) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make([]error, 0, len(changes))
	failed := false
	for some := range slices.Chunk(changes, MaxChanges) {
		of, err := c.applySome(some)
		failed = failed || err != nil || of != nil
		for i := range some {
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
	return c.ask(b, len(changes))
}

// OpenKnockPorts has UDP ports take knocks for a time, from now.
func (c *Conn) OpenKnockPorts(ports []uint16, lasts time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for some := range slices.Chunk(ports, MaxChanges) {
		b, err := appendPorts(c.buffer[:0], some, min(lasts, schedule.MaxOpen))
		if err != nil {
			return err
		}
		if _, err := c.ask(b, 0); err != nil {
			return err
		}
	}
	return nil
}

// Reread has the holder read again from which ports knocks may come. Until settle
// is called, those of before may take knocks as well; then the new ones alone, or
// the old.
func (c *Conn) Reread() (settle func(commit bool) error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.ask([]byte{byte(kindReread)}, 0); err != nil {
		return nil, err
	}
	return func(commit bool) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, err := c.ask(appendSettle(c.buffer[:0], commit), 0)
		return err
	}, nil
}

// ask sends a request with so many changes. The caller holds the lock.
func (c *Conn) ask(request []byte, changes int) ([]error, error) {
	l := c.current()
	if l == nil {
		return nil, ErrDead
	}
	b, err := l.ask(request, answerTime)
	if err != nil {
		return nil, err
	}
	errs, err := parseReply(b, changes)
	if errors.Is(err, errReply) {
		err = l.lost(err)
	}
	return errs, err
}

// lost gives the holder up.
func (c *Conn) lost(err error) error {
	if l := c.current(); l != nil {
		return l.lost(err)
	}
	return ErrDead
}

// Stop says that the server stops in order, and closes. Without an error, the
// holder has closed everything.
func (c *Conn) Stop() error {
	c.mu.Lock()
	_, err := c.ask([]byte{byte(kindExit)}, 0)
	c.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("close the firewall: %w", err)
	}
	return errors.Join(err, c.Close())
}

// Close has the holder close everything. It waits for the end of one that is a
// child of this process: in a container it would not outlive it.
func (c *Conn) Close() error {
	l := c.current()
	if l == nil {
		return nil
	}
	l.lost(nil)
	select {
	case <-l.ended:
		return nil
	case <-time.After(answerTime):
		return fmt.Errorf("the firewall's holder has not ended after %s", answerTime)
	}
}
