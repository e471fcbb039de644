package cluster

import (
	"context"
	"crypto/tls"
	"io"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/grpclog"
)

const (
	// connectPause is the time between two attempts to get a token from a member.
	connectPause = 250 * time.Millisecond
	// maxBackoff is the longest time between two attempts of gRPC to connect: when etcd
	// is back, the next request must find it.
	maxBackoff = 250 * time.Millisecond
	// keepAlive is how often gRPC asks a silent member whether it is there: the least
	// that gRPC allows.
	keepAlive        = 10 * time.Second
	keepAliveTimeout = 3 * time.Second
	// maxSend is the limit of etcd for a request.
	maxSend = 1536 << 10
	// maxReceive bounds the memory for an answer: a gateway that was taken over can write
	// 1000 values of 1 MiB. A full page of honest ones has 7 MiB at most.
	maxReceive = 16 << 20
)

// gRPC logs to the standard error by itself, at any rate, and so does etcd's client. The
// errors of requests have the same facts.
func init() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) }

// member is an etcd server, with the client that sends to it.
type member struct {
	endpoint string

	mu     sync.Mutex
	client *clientv3.Client
	fault  error     // why there is no client
	logged time.Time // when a failure of the member was logged last
}

// connect makes the client. With a password, the client asks for a token first, so
// connect tries again until etcd answers.
func (m *member) connect(ctx context.Context, cfg Config, t *tls.Config, timeout time.Duration, failed func(error)) {
	c := clientv3.Config{
		Endpoints: []string{strings.TrimSuffix(m.endpoint, "/")}, TLS: t, Username: cfg.User, Password: cfg.Password,
		DialTimeout: timeout, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAliveTimeout, PermitWithoutStream: true,
		MaxCallSendMsgSize: maxSend, MaxCallRecvMsgSize: maxReceive, Context: ctx, Logger: zap.NewNop(),
		MaxUnaryRetries: 2, // the second one with a new token
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: timeout,
		})},
	}
	if strings.HasPrefix(m.endpoint, "http://") {
		c.TLS = nil
	} else {
		c.DialOptions = append(c.DialOptions, grpc.WithTransportCredentials(newTrust(t, cfg.roots)))
	}
	if cfg.Password == "" {
		c.Username = ""
	}
	for {
		client, err := clientv3.New(c)
		if err == nil {
			m.mu.Lock()
			m.client = client
			m.mu.Unlock()
			return
		}
		if ctx.Err() == nil {
			m.mu.Lock()
			m.fault = err
			m.mu.Unlock()
			failed(err)
		}
		select {
		case <-time.After(connectPause):
		case <-ctx.Done():
			return
		}
	}
}

// get returns the client; nil: it has no token yet.
func (m *member) get() *clientv3.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

// whyNot returns why there is no client.
func (m *member) whyNot() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == nil {
		return errNoToken
	}
	return m.fault
}

func (m *member) close() {
	if c := m.get(); c != nil {
		c.Close()
	}
}
