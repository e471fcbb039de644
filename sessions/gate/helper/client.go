package helper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// answerTime is how long the helper may take: it does milliseconds of work.
const answerTime = 5 * time.Second

// ErrDead says that the helper is gone, and nothing can be opened any more.
var ErrDead = errors.New("the privileged helper is gone")

// Client is the server's end. Its methods may be called concurrently.
type Client struct {
	mu     sync.Mutex
	conn   net.Conn
	buffer []byte
	once   sync.Once
	dead   chan struct{}
	why    error         // set before dead is closed
	ended  chan struct{} // the process is no more
}

// NewClient takes over the socket that leads to a helper, and the end of a
// pipe whose other end the helper holds for as long as it lives.
func NewClient(socket *os.File, lifeline io.ReadCloser) (*Client, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		lifeline.Close()
		return nil, fmt.Errorf("reach the privileged helper: %w", err)
	}
	c := &Client{conn: conn, dead: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer lifeline.Close()
		defer close(c.ended)
		lifeline.Read(make([]byte, 1)) // nothing ever comes but the end
		c.lost(nil)
	}()
	return c, nil
}

// Ready waits until the helper has closed all doors, and hears us.
func (c *Client) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answer()
}

// Dead is closed when the helper is found to be gone, or given up.
func (c *Client) Dead() <-chan struct{} { return c.dead }

// Err says why, once Dead is closed. It is ErrDead.
func (c *Client) Err() error {
	<-c.dead
	return c.why
}

// Do has the helper carry out changes: all, or none.
func (c *Client) Do(changes ...Change) error {
	for len(changes) > MaxChanges {
		if err := c.Do(changes[:MaxChanges]...); err != nil {
			return err
		}
		changes = changes[MaxChanges:]
	}
	if len(changes) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buffer = c.buffer[:0]
	for _, change := range changes {
		var err error
		if c.buffer, err = change.AppendBinary(c.buffer); err != nil {
			return err
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return c.lost(err)
	}
	if _, err := c.conn.Write(c.buffer); err != nil {
		return c.lost(err)
	}
	return c.answer()
}

// answer reads a reply: nothing, or what is wrong.
func (c *Client) answer() error {
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return c.lost(err)
	}
	reply := make([]byte, maxReply)
	n, err := c.conn.Read(reply)
	if err != nil || n == 0 {
		return c.lost(err)
	}
	if reply[0] != replyDone {
		return fmt.Errorf("the privileged helper: %s", reply[1:n])
	}
	return nil
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

// Knock announces the ports of a minute.
func (c *Client) Knock(ports []uint16, d time.Duration) error {
	changes := make([]Change, len(ports))
	for i, p := range ports {
		changes[i] = Change{Kind: Knock, Number: p, For: min(d, maxKnockTime)}
	}
	return c.Do(changes...)
}

// Stop says that the server stops in order, and closes.
func (c *Client) Stop() error {
	return errors.Join(c.Do(Change{Kind: Exit}), c.Close())
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

// Door is a service behind the firewall. It implements the gate's Door.
type Door struct {
	Client  *Client
	Service uint16 // its number in the configuration
	// Ends: connections end without the helper, by a rule of the firewall or as
	// the server's own.
	Ends bool

	until map[netip.Addr]time.Time
}

// Admit implements the gate's Door.
func (d *Door) Admit(a netip.Addr, until time.Time) error {
	a = a.WithZone("")
	left := time.Until(until)
	if left < time.Millisecond {
		return nil // it is over
	}
	if err := d.Client.Do(Change{Kind: Open, Number: d.Service, For: left, Address: a}); err != nil {
		return err
	}
	if d.until == nil {
		d.until = map[netip.Addr]time.Time{}
	}
	d.until[a] = until
	return nil
}

// Dismiss implements the gate's Door. What the kernel has ended by itself
// needs no word, but for what was connected.
func (d *Door) Dismiss(gone []netip.Addr, cut bool) {
	kind := Close
	if cut = cut && !d.Ends; cut {
		kind = Cut
	}
	var changes []Change
	now := time.Now()
	for _, a := range gone {
		a = a.WithZone("")
		if cut || now.Before(d.until[a]) {
			changes = append(changes, Change{Kind: kind, Number: d.Service, Address: a})
		}
		delete(d.until, a)
	}
	// What cannot be closed alone is closed with everything: the helper does
	// that when it is given up, and the server stops.
	if err := d.Client.Do(changes...); err != nil {
		d.Client.lost(err)
	}
}

// Close implements the gate's Door.
func (d *Door) Close() {
	gone := make([]netip.Addr, 0, len(d.until))
	for a := range d.until {
		gone = append(gone, a)
	}
	d.Dismiss(gone, false)
}
