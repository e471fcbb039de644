package helper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

// answerTime is how long the helper may take: it does milliseconds of work.
const answerTime = 5 * time.Second

// ErrDead says that the helper is gone, and nothing can be opened any more.
var ErrDead = errors.New("the privileged helper is gone")

// ErrOtherConfiguration says that the helper has not read the configuration that
// the server has.
var ErrOtherConfiguration = errors.New("the helper read another configuration")

// Client is the server's end. Its methods may be called concurrently.
type Client struct {
	clock  clock.Clock
	mu     sync.Mutex
	conn   net.Conn
	buffer []byte // a request, and then a reply
	once   sync.Once
	dead   chan struct{}
	why    error         // set before dead is closed
	ended  chan struct{} // the process is no more
}

// NewClient takes over the socket that leads to a helper, and the end of a
// pipe whose other end the helper holds for as long as it lives. The clock is the
// one of the services.
func NewClient(socket *os.File, lifeline io.ReadCloser, c clock.Clock) (*Client, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		lifeline.Close()
		return nil, fmt.Errorf("reach the privileged helper: %w", err)
	}
	client := &Client{clock: c, conn: conn, buffer: make([]byte, 0, maxRequest), dead: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer lifeline.Close()
		defer close(client.ended)
		lifeline.Read(make([]byte, 1)) // nothing ever comes but the end
		client.lost(nil)
	}()
	return client, nil
}

// Ready waits until the helper has closed everything, and hears us. If it has
// read another configuration than the one with this digest, it is given up, and
// the error is ErrOtherConfiguration.
func (c *Client) Ready(own Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.receive()
	if err != nil {
		return err
	}
	if len(b) != 1+len(own) || answer(b[0]) != answerReady {
		return c.lost(errReply)
	}
	if read := Digest(b[1:]); read != own {
		return c.lost(fmt.Errorf("%w: the digest of its policy and firewall is %x, expected %x", ErrOtherConfiguration, read[:8], own[:8]))
	}
	return nil
}

// Dead is closed when the helper is found to be gone, or given up.
func (c *Client) Dead() <-chan struct{} { return c.dead }

// Err says why, once Dead is closed. It is ErrDead.
func (c *Client) Err() error {
	<-c.dead
	return c.why
}

// apply has the helper carry out changes: those of a request in one transaction.
// It returns the error of each, or nil if there is none. Zones are left out.
func (c *Client) apply(changes []access.Change) []error {
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

func (c *Client) applySome(changes []access.Change) ([]error, error) {
	b, err := appendChanges(c.buffer[:0], changes, c.clock.Boot())
	if err != nil {
		return nil, err
	}
	return c.ask(b, len(changes))
}

// OpenKnockPorts has UDP ports take knocks for a time, from now.
func (c *Client) OpenKnockPorts(ports []uint16, lasts time.Duration) error {
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

// ask sends a request with so many changes. The caller holds the lock.
func (c *Client) ask(request []byte, changes int) ([]error, error) {
	// Deadlines go by the timers of this process, and so by its own clock.
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, c.lost(err)
	}
	if _, err := c.conn.Write(request); err != nil {
		return nil, c.lost(err)
	}
	b, err := c.receive()
	if err != nil {
		return nil, err
	}
	errs, err := parseReply(b, changes)
	if errors.Is(err, errReply) {
		err = c.lost(err)
	}
	return errs, err
}

// receive returns a reply, which is valid until the next request.
func (c *Client) receive() ([]byte, error) {
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, c.lost(err)
	}
	b := c.buffer[:cap(c.buffer)]
	n, err := c.conn.Read(b)
	if err != nil || n == 0 {
		return nil, c.lost(err)
	}
	return b[:n], nil
}

// lost gives the helper up: after half an exchange, answers would be taken
// for those to other requests.
func (c *Client) lost(err error) error {
	if err == nil {
		err = ErrDead
	} else {
		err = fmt.Errorf("%w: %w", ErrDead, err)
	}
	c.once.Do(func() {
		c.conn.Close()
		c.why = err
		close(c.dead)
	})
	return err
}

// Stop says that the server stops in order, and closes.
func (c *Client) Stop() error {
	c.mu.Lock()
	_, err := c.ask([]byte{byte(kindExit)}, 0)
	c.mu.Unlock()
	return errors.Join(err, c.Close())
}

// Close has the helper close everything, and waits for its end: in a
// container it would not outlive this process.
func (c *Client) Close() error {
	c.lost(nil)
	select {
	case <-c.ended:
		return nil
	case <-time.After(answerTime):
		return fmt.Errorf("the privileged helper has not ended after %s", answerTime)
	}
}
