package helper

// What the tests of package helper_test need besides what is exported.

const MaxRequest = maxRequest

var ErrRefused = errRefused

// Kill closes the client's end, as the kernel does for a process that was
// killed.
func (c *Client) Kill() { c.conn.Close() }

// Ask sends a request as it stands.
func (c *Client) Ask(request []byte) error {
	_, err := c.ask(request, 1)
	return err
}
