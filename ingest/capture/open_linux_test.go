package capture

import (
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// TestQueueOfRoot: a server that starts as root has the whole queue, whatever the host's
// limit (net.core.rmem_max) is.
func TestQueueOfRoot(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	o, err := OpenSockets(testSettings, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	size, err := unix.GetsockoptInt(int(o.packet4.Fd()), unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil || size != 2*queueSize {
		t.Errorf("got a queue of %d bytes, as the kernel counts, and %v, expected %d", size, err, 2*queueSize)
	}
}
