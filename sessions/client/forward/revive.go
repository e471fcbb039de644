package forward

import (
	"context"
	"net"
)

// renew knocks for the flows of a route, and reports only a failure: the flows
// continue in either case.
func (s *server) renew(ctx context.Context, r *route) {
	if _, _, err := s.opener.knock(ctx, r, Request{}); err != nil {
		s.failed(ctx, r, err)
	}
}

// revive knocks for a flow that gets no answers. If the service has another address
// now, or this computer has, the flow gets another socket. Otherwise it keeps its
// source port, since the server may know the flow by it.
func (f *flow) revive(up net.Conn, n int) {
	f.server.opener.fail(f.route, n)
	open, err := f.server.knock(f.ctx, f.route, Request{})
	if err != nil {
		return
	}
	now, err := f.dial(open.at)
	if err != nil {
		return // the flow still has its socket
	}
	same := now.RemoteAddr().String() == up.RemoteAddr().String() && host(now.LocalAddr()) == host(up.LocalAddr())
	now.Close()
	if !same {
		up.Close() // the goroutine of the flow makes another one
	}
}

func host(a net.Addr) string {
	h, _, _ := net.SplitHostPort(a.String())
	return h
}
