package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// newFlowAge and checkAge are the ages up to which a result of the name server
	// is used again: for a new flow, and for flows that continue. A flood of flows
	// causes a query a second.
	newFlowAge = time.Second
	checkAge   = 10 * time.Second
)

// upstream is the name and port of an upstream, with its addresses. All flows
// share one query to the name server.
type upstream struct {
	name string // host:port
	now  func() time.Duration
	ctx  context.Context // of the relay

	mu    sync.Mutex
	query *query // the latest one
	good  netip.AddrPort
}

// query is a query to the name server. Its results may be read when it is done.
type query struct {
	done chan struct{}
	at   time.Duration // time of the result
	all  []netip.AddrPort
	err  error
}

// addresses returns the addresses of the upstream, at least one, by a query that is
// no older than age. The first is the address that has answered last.
func (u *upstream) addresses(ctx context.Context, age time.Duration) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(u.name); err == nil {
		return []netip.AddrPort{a}, nil
	}
	q := u.current(age)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-q.done:
	}
	if q.err != nil {
		return nil, q.err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	all := slices.Clone(q.all)
	if i := slices.Index(all, u.good); i > 0 {
		all = slices.Insert(slices.Delete(all, i, i+1), 0, u.good)
	}
	return all, nil
}

// current returns the query that runs, or a result of that age, or a new query.
func (u *upstream) current(age time.Duration) *query {
	u.mu.Lock()
	defer u.mu.Unlock()
	if q := u.query; q != nil {
		select {
		case <-q.done:
			if u.now()-q.at < age {
				return q
			}
		default:
			return q
		}
	}
	q := &query{done: make(chan struct{})}
	u.query = q
	go func() {
		defer close(q.done)
		q.all, q.err = u.lookup()
		q.at = u.now()
	}()
	return q
}

func (u *upstream) lookup() (all []netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(u.ctx, dialTimeout)
	defer cancel()
	host, service, err := net.SplitHostPort(u.name)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, a := range found {
		all = append(all, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	return all, err
}

// answered records that an address answers.
func (u *upstream) answered(a netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.good = a
}
