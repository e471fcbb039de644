package fleet

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"sallyport/bench/target"
	"sallyport/verify"
)

const (
	// perWrite is how many records one request writes, and writers how many are on the way.
	perWrite = 126
	writers  = 4
	// quiet is how long a gateway has to read nothing until it has all records, of which an
	// answer has at most perRead. It may take viewTime.
	quiet    = 2 * time.Second
	perRead  = 1000
	viewTime = 10 * time.Minute
)

// fill writes a record of used nonces for each of the first clients of a server, as
// FLEET.md defines it.
func fill(ctx context.Context, to *clientv3.Client, s *target.Server, n int) error {
	f, err := os.Open(filepath.Join(s.Config.Dir, "clients.txt"))
	if err != nil {
		return err
	}
	defer f.Close()
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(writers)
	var ops []clientv3.Op
	send := func() {
		batch := ops
		ops = nil
		all.Go(func() error {
			_, err := to.Txn(ctx).Then(batch...).Commit()
			return err
		})
	}
	lines := bufio.NewScanner(f)
	for done := 0; done < n && lines.Scan() && ctx.Err() == nil; done++ {
		fields := strings.Fields(lines.Text())
		value, err := record([]byte(fields[1]))
		if err != nil {
			return err
		}
		if ops = append(ops, clientv3.OpPut("/sallyport/nonces/"+fields[0], value)); len(ops) == perWrite {
			send()
		}
	}
	if len(ops) > 0 {
		send()
	}
	if err := all.Wait(); err != nil {
		return fmt.Errorf("write records in etcd: %w", err)
	}
	return lines.Err()
}

// record returns the value of a client that has used the nonce 1.
func record(secret []byte) (string, error) {
	fingerprint, err := verify.FingerprintOf(secret)
	if err != nil {
		return "", err
	}
	return string(value(rand.Uint64(), fingerprint, 1, 1)), nil
}

// value encodes the record of one nonce, below 64.
func value(tag uint64, secret verify.Fingerprint, nonce, stamp uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte{1}, tag) // after the version
	b = binary.BigEndian.AppendUint32(b, 0)            // no removed records
	b = binary.BigEndian.AppendUint64(b, uint64(secret))
	b = binary.BigEndian.AppendUint32(b, nonce)
	b = binary.BigEndian.AppendUint64(b, 1<<nonce)
	b = append(b, make([]byte, 3*8)...)
	return binary.BigEndian.AppendUint32(b, stamp)
}

// start returns how the first gateway has started, when it has all records.
func (t *testbed) start(ctx context.Context, since time.Time) (s Start, err error) {
	g := t.gateways[0]
	s = Start{Setup: t.setup, Ready: g.server.Ready.Seconds()}
	if t.etcd != nil {
		least := float64(t.setup.Records / perRead)
		last, begin, changed := -1.0, time.Now(), time.Now()
		for time.Since(changed) < quiet || last < t.filled.Reads+least {
			if time.Since(begin) > viewTime || ctx.Err() != nil {
				return s, errors.Join(errors.New("the gateway does not read the records"), ctx.Err())
			}
			c, err := t.cost(ctx)
			if err != nil {
				return s, err
			}
			if c.Reads > last {
				last, changed = c.Reads, time.Now()
			}
			c = c.plus(t.filled, -1)
			s.Requests, s.Read = c.requests(), c.Sent/1e6
			time.Sleep(quiet / 20)
		}
		s.View = changed.Sub(since).Seconds()
		u, err := t.etcd.members[0].Usage()
		if err != nil {
			return s, err
		}
		m, err := t.etcd.metrics(ctx, 0)
		if err != nil {
			return s, err
		}
		s.Member, s.Database = mib(u.Resident), m.database/(1<<20)
	}
	u, err := g.server.Usage()
	s.MiB = mib(u.Resident)
	return s, err
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
