package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// MaxOperations is how many operations a transaction may have: etcd's default
// (--max-txn-ops) is 128. Of nested transactions, each with a comparison, 126 leave room
// for it.
const MaxOperations = 126

// retryPause is the time between two rounds over all members.
const retryPause = 20 * time.Millisecond

// UnavailableError is the error of a request that got no answer in time, or that etcd
// refused. A write may have taken effect.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string {
	if IsDenied(e.Err) {
		return "etcd refuses the request: " + e.Err.Error()
	}
	return "etcd is unavailable: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Txn is a linearizable transaction: If all comparisons hold, Then, and otherwise Else.
// It may be sent more than once, and a copy may have been applied before: the caller must
// recognise its own write in what Else reads. Errors are UnavailableError.
func (c *Cluster) Txn(ctx context.Context, If []clientv3.Cmp, Then, Else []clientv3.Op) (resp *clientv3.TxnResponse, err error) {
	err = c.do(ctx, func(ctx context.Context, client *clientv3.Client) (Position, error) {
		var err error
		if resp, err = client.Txn(ctx).If(If...).Then(Then...).Else(Else...).Commit(); err != nil {
			return Position{}, err
		}
		return Position{resp.Header.ClusterId, resp.Header.Revision}, nil
	})
	return resp, err
}

// Get is a linearizable read, unless the options contain WithSerializable. The key is a
// full name. Errors are UnavailableError.
func (c *Cluster) Get(ctx context.Context, key string, options ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = c.do(ctx, func(ctx context.Context, client *clientv3.Client) (Position, error) {
		var err error
		if resp, err = client.Get(ctx, key, options...); err != nil {
			return Position{}, err
		}
		return Position{resp.Header.ClusterId, resp.Header.Revision}, nil
	})
	return resp, err
}

// Lease makes a lease that etcd ends after a time, unless it is kept alive. A lost
// answer leaves a lease that ends by itself. Errors are UnavailableError.
func (c *Cluster) Lease(ctx context.Context, ttl time.Duration) (id clientv3.LeaseID, err error) {
	err = c.do(ctx, func(ctx context.Context, client *clientv3.Client) (Position, error) {
		resp, err := client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
		if err != nil {
			return Position{}, err
		}
		id = resp.ID
		return Position{}, nil
	})
	return id, err
}

// KeepAlive renews a lease once. Errors are UnavailableError; of a lease that has ended,
// one with the code NotFound of gRPC.
func (c *Cluster) KeepAlive(ctx context.Context, id clientv3.LeaseID) error {
	return c.do(ctx, func(ctx context.Context, client *clientv3.Client) (Position, error) {
		_, err := client.KeepAliveOnce(ctx, id)
		return Position{}, err
	})
}

// Revoke ends a lease, and so deletes its keys. Errors are UnavailableError.
func (c *Cluster) Revoke(ctx context.Context, id clientv3.LeaseID) error {
	return c.do(ctx, func(ctx context.Context, client *clientv3.Client) (Position, error) {
		_, err := client.Revoke(ctx, id)
		return Position{}, err
	})
}

// request sends a request to one member. It returns the position in a linearizable answer,
// or none.
type request func(context.Context, *clientv3.Client) (Position, error)

// do sends a request to one member after the other until one answers, or the time is
// over.
func (c *Cluster) do(ctx context.Context, r request) error {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	share := c.timeout
	if len(c.members) > 1 {
		share /= 2
	}
	var last error
	for {
		for range c.members {
			at := c.preferred.Load()
			m := c.members[int(at)%len(c.members)]
			before := c.positions.get()
			now, err := m.send(ctx, share, r)
			if err == nil {
				c.answered(m)
				if now != (Position{}) {
					c.positions.observe(now, before)
				}
				return nil
			}
			if last = fmt.Errorf("%s: %w", m.endpoint, err); final(err) {
				c.refused(last)
				return &UnavailableError{last}
			}
			if c.ctx.Err() != nil || errors.Is(caller.Err(), context.Canceled) {
				return &UnavailableError{context.Canceled} // which is no fault of the member
			}
			c.memberFailed(m, err)
			c.preferred.CompareAndSwap(at, (at+1)%uint32(len(c.members)))
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			c.failed(last)
			return &UnavailableError{last}
		}
	}
}

var errNoToken = errors.New("not connected yet")

// send sends a request to a member, which gets a share of the time.
func (m *member) send(ctx context.Context, share time.Duration, r request) (Position, error) {
	client := m.get()
	if client == nil {
		return Position{}, m.whyNot()
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()
	return r(ctx, client)
}

// final reports whether etcd refused a request in a way that another member, or another
// try within the same second, would not change.
func final(err error) bool {
	if learner(err) {
		return false
	}
	switch codeOf(err) {
	case codes.PermissionDenied, codes.InvalidArgument, codes.ResourceExhausted, codes.FailedPrecondition,
		codes.NotFound, codes.OutOfRange, codes.Unimplemented:
		return true
	}
	return false
}

// learner reports whether a member refused a request because it is a learner, which gets
// the data and does not vote yet: any other member answers. Releases of etcd have
// different codes for it.
func learner(err error) bool {
	return err != nil && strings.Contains(err.Error(), "rpc not supported for learner")
}

// TooLarge reports whether the error of a request is that its answer has more than
// maxReceive bytes. A smaller request may succeed; a write has taken effect.
func TooLarge(err error) bool {
	return codeOf(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "received message larger than max")
}

func codeOf(err error) codes.Code {
	if e, ok := errors.AsType[interface { // of etcd's own errors
		error
		Code() codes.Code
	}](err); ok {
		return e.Code()
	}
	return status.Code(err)
}

// IsNotFound reports whether etcd refused a request because its lease has ended.
func IsNotFound(err error) bool {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if codeOf(e) == codes.NotFound {
			return true
		}
	}
	return false
}

// IsDenied reports whether etcd answered, and refused a request because it does not know
// the user, or the user lacks a right.
func IsDenied(err error) bool {
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch codeOf(e) {
		case codes.PermissionDenied, codes.Unauthenticated:
			return true
		case codes.InvalidArgument: // of a request that is too large, too
			text := e.Error()
			return strings.Contains(text, "authentication failed") || strings.Contains(text, "user name is empty")
		}
	}
	return false
}
