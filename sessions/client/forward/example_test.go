package forward_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"

	"sallyport/sessions/client/forward"
)

// A program connects to a local port, and gets a connection to the service. Here the
// service is open already, so the knock does nothing; a client of a server uses Sequence
// or Challenge in its place.
func ExampleServe() {
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		c, err := service.Accept()
		if err == nil {
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	at := service.Addr().(*net.TCPAddr).AddrPort()

	local, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- forward.Serve(ctx, forward.Config{
			Knock: func(context.Context, forward.Request) (forward.Opened, error) {
				return forward.Opened{Server: netip.MustParseAddr("127.0.0.1"), Service: at}, nil
			},
			Report: func(e forward.Event) {
				if failed, ok := e.(forward.Failed); ok {
					fmt.Println(failed.Err)
				}
			},
		}, []forward.Route{{Service: fmt.Sprintf(":%d", at.Port()), Streams: []net.Listener{local}}})
	}()

	c, err := net.Dial("tcp", local.Addr().String())
	if err != nil {
		panic(err)
	}
	text, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", text, err)
	cancel()
	fmt.Println(<-done)
	// Output:
	// hello <nil>
	// <nil>
}
