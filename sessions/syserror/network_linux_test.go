package syserror

import (
	"testing"

	"sallyport/bench/netns"
)

// ownNetwork is netns.Enter: on the host's network, a firewall may drop the ICMP errors
// that the test waits for, and another program may take a port that was just free.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	return netns.Enter(t)
}
