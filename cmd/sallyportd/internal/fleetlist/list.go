package fleetlist

import (
	"log/slog"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/roster"
)

// List is the list of clients of a fleet. Its methods may be called by many goroutines;
// only Follow must run once at a time.
type List struct {
	roster *roster.Roster
	copy   *Copy
	log    *slog.Logger
	owned  *cluster.Cluster // nil: the connection is the caller's
}

// Open connects to the list of a configuration that was loaded with its secrets. It does
// not wait for etcd. now is the clock for the times in the list.
func Open(cfg *config.Config, now func() time.Time, log *slog.Logger) (*List, error) {
	etcd := cfg.Fleet.Etcd
	etcd.Log = log
	c, err := cluster.Open(etcd)
	if err != nil {
		return nil, err
	}
	l, err := Over(c, cfg, NewCopy(cfg), now, log)
	if err != nil {
		c.Close()
		return nil, err
	}
	l.owned = c
	return l, nil
}

// Over is Open with a connection that the caller closes after the List.
func Over(c *cluster.Cluster, cfg *config.Config, file *Copy, now func() time.Time, log *slog.Logger) (*List, error) {
	r, err := roster.Open(roster.Config{Cluster: c, Key: cfg.Fleet.ClientsKey, Dir: cfg.StateDir, Now: now, Log: log})
	if err != nil {
		return nil, err
	}
	return &List{roster: r, copy: file, log: log}, nil
}

// Close ends the requests.
func (l *List) Close() error {
	if l.owned != nil {
		l.owned.Close()
	}
	return nil
}

// Roster is the list as etcd has it.
func (l *List) Roster() *roster.Roster { return l.roster }
