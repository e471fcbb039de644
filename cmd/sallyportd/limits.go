package main

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest/web"
	"sallyport/verify/schedule"
)

// otherDescriptors is how many files a server has open that are not sockets of its
// ports: timers, pipes, its lock, and some connections.
const otherDescriptors = 64

// descriptorsNeeded is how many descriptors a server may have open before the
// first client is connected: strangers may have connections without a proof.
func descriptorsNeeded(cfg *config.Config, now time.Time) (needed, knockPorts, readers, addresses int) {
	readers, addresses = readersOf(cfg), max(1, len(cfg.Listen))
	// The next minute's ports are open before the last minute's are closed.
	minutes := len(schedule.Live(now, cfg.Tolerance)) + 1
	lists := 1
	if cfg.PortSecret.Previous != "" && now.Before(cfg.PortSecret.Until) {
		lists = 2
	}
	knockPorts = cfg.Ports * lists * minutes
	needed = knockPorts*readers*addresses + len(cfg.Services) + cfg.Pending() + otherDescriptors
	if cfg.Challenge != nil && cfg.Challenge.Sockets {
		p := cfg.Challenge.Plan.Ports
		needed += (int(p.Last) - int(p.First) + 1) * addresses
	}
	return needed + carrierDescriptors(cfg), knockPorts, readers, addresses
}

// carrierDescriptors is how many descriptors the listeners for exchanges over HTTP and DNS
// may have, with the connections of strangers, and those to the sites behind them.
func carrierDescriptors(cfg *config.Config) (n int) {
	for i := range cfg.HTTP() {
		h := &cfg.HTTP()[i]
		n += 1 + h.Connections
		if h.Proxied() {
			n += h.Connections
		}
	}
	if cfg.DNS() != nil {
		n += 2 + web.DefaultConnections
	}
	return n
}

// readersOf is how many threads of a server receive.
func readersOf(cfg *config.Config) int {
	if cfg.Readers > 0 {
		return cfg.Readers
	}
	return runtime.GOMAXPROCS(0)
}

// descriptorLimit is how many descriptors a server may have: Go's runtime raises
// the soft limit to the hard one.
func descriptorLimit() (limit uint64) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return unix.RLIM_INFINITY
	}
	return r.Max
}

const limitHint = "raise the limit (LimitNOFILE= of the unit, \"ulimit -Hn\" of a shell), or set fewer readers, addresses or ports"

// checkDescriptors warns if a server needs more descriptors than it may have.
func checkDescriptors(cfg *config.Config, now time.Time, limit uint64) []finding {
	needed, knockPorts, readers, addresses := descriptorsNeeded(cfg, now)
	if uint64(needed) <= limit {
		return nil
	}
	return []finding{warn("descriptor-limit", limitHint,
		"the server needs up to %d open files before the first client is connected (%s, %s, %s), and its limit is %d: it cannot open all knock ports",
		needed, count(knockPorts, "knock port"), count(readers, "reader"), plural(addresses, "address", "addresses"), limit)}
}

const programLimitHint = "raise the limit (LimitNOFILE= of the unit, \"ulimit -Hn\" of a shell), or set a lower max_files"

// limitedPrograms returns the services whose programs get fewer open files than the
// configuration allows them: no program can have more than the server.
func limitedPrograms(cfg *config.Config, limit uint64) (services []string) {
	for _, p := range cfg.Programs() {
		if p.Limits.Files > limit && !slices.Contains(services, p.Service) {
			services = append(services, p.Service)
		}
	}
	return services
}

// checkProgramLimits warns about programs that get fewer open files than the
// configuration allows them.
func checkProgramLimits(cfg *config.Config, limit uint64) []finding {
	services := limitedPrograms(cfg, limit)
	if len(services) == 0 {
		return nil
	}
	return []finding{warn("program-limit", programLimitHint,
		"max_files is above the server's own limit of open files: programs of %s get %d at most", strings.Join(services, ", "), limit)}
}
