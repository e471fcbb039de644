package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// Versions returns the version of etcd at each endpoint; empty: it is unknown.
func (c Config) Versions(ctx context.Context) []string {
	versions := make([]string, len(c.Endpoints))
	var all sync.WaitGroup
	for i, e := range c.Endpoints {
		one := c
		one.Endpoints, one.Log, one.Gap = []string{e}, slog.New(slog.DiscardHandler), nil
		all.Go(func() { versions[i] = one.version(ctx) })
	}
	all.Wait()
	return versions
}

func (c Config) version(ctx context.Context) string {
	conn, err := Open(c)
	if err != nil {
		return ""
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, conn.timeout)
	defer cancel()
	for {
		if client := conn.members[0].get(); client != nil {
			resp, err := client.Status(ctx, c.Endpoints[0])
			if err != nil {
				return ""
			}
			return resp.Version
		}
		if !sleep(ctx, retryPause) { // it has no token yet
			return ""
		}
	}
}

// checked is the first release of each series of etcd 3 that checks the rights of all that
// a nested transaction has: its keys (CVE-2026-33343), and the previous values and leases of
// its writes (CVE-2026-44283). Later series have it from the beginning.
var checked = map[int]int{4: 44, 5: 30, 6: 11}

// ChecksRights reports whether a version of etcd checks the rights of its users in nested
// transactions. Of a version that it cannot read, it reports true.
func ChecksRights(version string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n != 3 || major != 3 {
		return n != 3 || major > 3
	}
	first, has := checked[minor]
	return has && patch >= first || minor > 6
}
