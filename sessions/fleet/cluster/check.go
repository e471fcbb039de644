package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
)

// CheckFiles reports whether Open could read the files of the configuration.
func (c Config) CheckFiles() error {
	_, err := c.tlsConfig()
	return err
}

// Problem is a member of etcd that a gateway cannot use.
type Problem struct {
	Endpoint string
	Err      error
	Denied   bool // it answers, but the user lacks rights
}

// Check asks each member whether a gateway may read and write below keys of the prefix.
// It writes nothing.
func (c Config) Check(ctx context.Context, keys ...string) (problems []Problem) {
	errs := make([]error, len(c.Endpoints))
	var all sync.WaitGroup
	for i, e := range c.Endpoints {
		one := c
		one.Endpoints, one.Log, one.Gap = []string{e}, slog.New(slog.DiscardHandler), nil
		all.Go(func() { errs[i] = one.checkOne(ctx, keys) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			code := codeOf(errors.Unwrap(err))
			denied := code == codes.PermissionDenied || code == codes.Unauthenticated || code == codes.InvalidArgument
			problems = append(problems, Problem{c.Endpoints[i], err, denied})
		}
	}
	return problems
}

func (c Config) checkOne(ctx context.Context, keys []string) error {
	conn, err := Open(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, k := range keys {
		// etcd checks the rights of both branches. No key was ever changed at revision -1.
		never := clientv3.Compare(clientv3.ModRevision(conn.Key(k)), "=", -1)
		_, err := conn.Txn(ctx, []clientv3.Cmp{never}, []clientv3.Op{clientv3.OpPut(conn.Key(k), "")}, []clientv3.Op{clientv3.OpGet(conn.Key(k))})
		if err != nil {
			return err
		}
	}
	return nil
}
