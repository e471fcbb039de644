package fleet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"sallyport/bench/netns"
	"sallyport/bench/target"
)

const (
	clientPort  = 2379
	peerPort    = 2480 // and the number of the first gateway and of the member, on the loopback
	metricsPort = 2680 // likewise
	// quota of the database of a member: a million records take more than its default lets
	// compactions leave.
	quota = 4 << 30

	startTime = time.Minute // in which members must have a leader
)

// etcd is members on this host.
type etcd struct {
	members  []*target.Process
	identity identity
	first    int // the number of the first gateway
}

// memberAddress is an address of a member, for one gateway.
func memberAddress(gateway, member int) string { return fmt.Sprintf("10.8.%d.%d", gateway, 101+member) }

// startEtcd starts members, as many as there are gateways, of which the first one has a
// number. The links to the gateways exist.
func startEtcd(ctx context.Context, program, dir string, first, n int) (e *etcd, err error) {
	e = &etcd{first: first}
	var addresses []net.IP
	var peers []string
	for m := range n {
		peers = append(peers, fmt.Sprintf("m%d=http://127.0.0.1:%d", m, peerPort+first+m))
		for g := range n {
			addresses = append(addresses, net.ParseIP(memberAddress(first+g, m)))
		}
	}
	if e.identity, err = newIdentity(dir, addresses); err != nil {
		return nil, err
	}
	for m := range n {
		var urls []string
		for g := range n {
			urls = append(urls, fmt.Sprintf("https://%s:%d", memberAddress(first+g, m), clientPort))
		}
		peer := fmt.Sprintf("http://127.0.0.1:%d", peerPort+first+m)
		p, err := target.Start(ctx, nil, target.AnyCore, exec.Command(program,
			"--name", fmt.Sprintf("m%d", m), "--data-dir", filepath.Join(dir, fmt.Sprintf("m%d", m)),
			"--listen-client-urls", strings.Join(urls, ","), "--advertise-client-urls", urls[0],
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", "new",
			"--listen-metrics-urls", fmt.Sprintf("http://127.0.0.1:%d", metricsPort+first+m),
			"--client-cert-auth", "--trusted-ca-file", e.identity.certificate, "--cert-file", e.identity.certificate, "--key-file", e.identity.key,
			"--quota-backend-bytes", fmt.Sprint(quota), "--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn"))
		if err != nil {
			e.stop()
			return nil, err
		}
		e.members = append(e.members, p)
	}
	return e, nil
}

// stop ends the members at once: their data is not needed.
func (e *etcd) stop() {
	for _, m := range e.members {
		m.Kill()
	}
}

// cost returns what the members have done since their start.
func (e *etcd) cost(ctx context.Context) (Cost, error) {
	var all []metrics
	for m := range e.members {
		one, err := e.metrics(ctx, m)
		if err != nil {
			return Cost{}, err
		}
		all = append(all, one)
	}
	return combine(all), nil
}

func (e *etcd) metrics(ctx context.Context, member int) (m metrics, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/metrics", metricsPort+e.first+member), nil)
	if err != nil {
		return m, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return m, fmt.Errorf("read the metrics of etcd: %w", err)
	}
	defer response.Body.Close()
	return readMetrics(response.Body)
}

// processor returns the processor time of all members.
func (e *etcd) processor() (total time.Duration, err error) {
	for _, m := range e.members {
		u, err := m.Usage()
		if err != nil {
			return 0, err
		}
		total += u.Processor
	}
	return total, nil
}

// client connects to a member from a host, by the way of its gateway. It waits until the
// members have a leader.
func (e *etcd) client(ctx context.Context, host *netns.Host, gateway, member int) (*clientv3.Client, error) {
	dial := func(ctx context.Context, address string) (c net.Conn, err error) {
		err = host.Do(func() (err error) {
			c, err = new(net.Dialer).DialContext(ctx, "tcp", address)
			return err
		})
		return c, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{fmt.Sprintf("https://%s:%d", memberAddress(gateway, member), clientPort)},
		TLS:       e.identity.config, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(try, "floodbench")
		stop()
		if err == nil {
			return client, nil
		}
		if ctx.Err() != nil {
			client.Close()
			return nil, fmt.Errorf("the members of etcd have no leader: %w", err)
		}
	}
}
