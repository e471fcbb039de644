package clients

import "time"

// Rotate makes the secret the previous one until a time, and replaces it by a new
// one, with which no nonce was used. The nonce of the line stays that of the secret
// for which it was written, as long as the line has that secret.
func (c *Client) Rotate(secret []byte, until time.Time) {
	if c.Previous != nil {
		c.HighestNonce = 0
	}
	c.Previous, c.Until, c.Secret = c.Secret, until, secret
}

// EndRotation removes the previous secret.
func (c *Client) EndRotation() {
	if c.Previous != nil {
		c.HighestNonce = 0
	}
	c.Previous, c.Until = nil, time.Time{}
}
