package holder

import "time"

// Exports for the tests of package holder_test.

const MaxRequest = maxRequest

// Kill closes the server's end, as the kernel does for a process that was
// killed.
func (c *Conn) Kill() { c.current().conn.Close() }

// SetTimes sets how long a holder may take to answer a ping, and how long it may be silent.
// Only Ping pings.
func (c *Conn) SetTimes(within, silence time.Duration) { c.times = times{time.Hour, within, silence} }

func (c *Conn) Ping() { c.ping(c.current()) }

// Dead returns a channel that closes when the current holder is gone, or was
// given up.
func (c *Conn) Dead() <-chan struct{} { return c.current().gone }

// Err returns the error, an ErrDead, once Dead is closed.
func (c *Conn) Err() error {
	<-c.current().gone
	return c.current().err
}

// Ask sends a request unchanged.
func (c *Conn) Ask(request []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.call(request, 1)
	return err
}
