package daemon

import (
	"net"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/verify/wire"
)

// TestStopWithoutEtcd: a server stops although etcd does not answer, and an attempt waits for
// it; the attempt opens nothing.
func TestStopWithoutEtcd(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := clocktest.NewHost().Clock()
	a := join(t, c, "127.0.0.1", []string{"http://" + silent.Addr().String()}, "")
	packets, err := client.Sequence(client.Profile{
		Server: "x", PortSecret: "the port secret", Ports: 3, Service: ":8080",
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1"),
	}, c.Wall(), 10)
	if err != nil {
		t.Fatal(err)
	}
	a.send(packets)
	a.await("the attempt", func() bool { return a.server.Counters()["authentic"] == 3 })
	a.stop()
	if a.count(sessions.Opened) != 0 || a.count(sessions.Unrecorded) != 1 {
		t.Errorf("%v", a.server.Counters())
	}
}
