package helper

// What the tests of package helper_test need besides what is exported.

const MaxRequest = maxRequest

// Kill closes the client's end, as the kernel does for a process that was
// killed.
func (c *Conn) Kill() { c.current().conn.Close() }

// Dead is closed when the holder of now is found to be gone, or given up.
func (c *Conn) Dead() <-chan struct{} { return c.current().gone }

// Err says why, once Dead is closed. It is ErrDead.
func (c *Conn) Err() error {
	<-c.current().gone
	return c.current().why
}

// Ask sends a request as it stands.
func (c *Conn) Ask(request []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.ask(request, 1)
	return err
}
