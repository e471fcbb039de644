package gate

import (
	"errors"
	"log/slog"
	"net"
	"testing"

	"sallyport/sessions/gate/relay"
)

// TestProxyOfAnotherListener: a proxy closes connections that it cannot carry.
func TestProxyOfAnotherListener(t *testing.T) {
	n := &network{}
	l, err := n.listen("", "")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	p := NewProxy(relay.TCP{Upstream: "127.0.0.1:7"}, slog.New(slog.DiscardHandler))
	go func() { done <- p.Serve(l) }()
	c := n.dial("192.0.2.1")
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a pipe was carried")
	}
	l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
