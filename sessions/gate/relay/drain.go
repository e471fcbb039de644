package relay

import (
	"context"
	"io"
	"net"
	"time"
)

const (
	// drainTime is how long a connection that ends waits for the client's end of file.
	drainTime = time.Second
	// drainMax is how many bytes of the client it drops meanwhile.
	drainMax = 1 << 20
)

// endInOrder sends an end of file, drops what the client has sent, and closes the
// connection. Without that, the kernel would reset a connection with unread bytes, and
// a reset means that the client is a stranger.
func endInOrder(ctx context.Context, conn *net.TCPConn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if conn.CloseWrite() == nil && conn.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		io.CopyN(io.Discard, conn, drainMax)
	}
}
