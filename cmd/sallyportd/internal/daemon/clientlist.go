package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/sessions"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/roster"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// With clients = "fleet", the list of clients is in etcd. Each change takes the way of a
// reload of the clients, as a whole or not at all; a client that the list lacks leaves at
// once, since the list is always complete. Rights that it takes away do not wait for the
// rest: see narrowBy.

// awaitListTime is how long a command waits until the list is in force: with a million
// clients, that takes seconds. It is shorter than a request to the admin socket may take.
const awaitListTime = 25 * time.Second

// openList makes what follows the list of clients in etcd, if the configuration has it. The
// connection of the fleet must exist.
func (s *Server) openList(cfg *config.Config) (err error) {
	if !cfg.FleetClients {
		return nil
	}
	if s.copy = s.env.ClientsCopy; s.copy == nil {
		s.copy = fleetlist.NewCopy(cfg)
	}
	s.following = cfg.Fleet
	s.list, err = fleetlist.Over(s.fleet.Cluster(), cfg, s.copy, s.env.Clock.Wall, s.env.Log)
	return err
}

// loadClients reads the clients of a configuration: the file, or the newest list of etcd
// that this server has seen.
func (s *Server) loadClients(cfg *config.Config) (clients.Loaded, error) {
	if s.list == nil {
		loaded, err := clients.Read(cfg.ClientsPath, cfg.SecretFiles, cfg.ServiceNames())
		return loaded, cfg.ExplainClients(err)
	}
	loaded, err := s.copy.Load(cfg)
	if _, changed := errors.AsType[*fleetlist.ChangedError](err); changed {
		s.list.Roster().Again() // which writes the copy again
	}
	return loaded, cfg.ExplainClients(err)
}

// readClients is the read function of a change of the clients.
func (s *Server) readClients(current *config.Config) (*config.Config, clients.Loaded, error) {
	loaded, err := s.loadClients(current)
	return current, loaded, err
}

// followList puts each list of etcd in force, until ctx ends. The knock ports must be open:
// see commit.
func (s *Server) followList(ctx context.Context) {
	if s.awaitPorts(ctx) {
		s.list.Follow(ctx, s.applyList, s.narrowNewer)
	}
}

// awaitPorts waits until the knock ports are open, and reports whether they are.
func (s *Server) awaitPorts(ctx context.Context) bool {
	for _, ready := range []<-chan struct{}{s.ingest.Ready(), s.shield.tried()} {
		select {
		case <-ready:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// awaitList waits for the first decision about the list in etcd, so that a client that was
// revoked while this server did not run does not get in. If etcd does not answer, no knock
// opens anything, and the server must serve its administrator.
func (s *Server) awaitList(ctx context.Context) {
	if s.list == nil {
		return
	}
	for {
		changed, now := s.list.Roster().Changed(), s.list.Roster().Stats()
		if now.Decided || now.Unread != nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// listDecided reports whether the server has decided about a list of etcd since it has
// started. Before that, it has the clients of its copy, of which some may be revoked: it opens
// nothing for them. It takes no lock once it was true.
func (s *Server) listDecided() bool {
	if s.list == nil || s.decided.Load() {
		return true
	}
	now := s.list.Roster().Stats()
	is := now.Applied+now.Refused > 0
	if is {
		s.decided.Store(true)
	}
	return is
}

// reopens reports whether a recorded lease of a client may open again: at a start, not before
// etcd was asked for the list. Without etcd, it goes on, as with a server that was not stopped.
func (s *Server) reopens(client wire.Identifier) bool {
	return ownerless(client) || s.listDecided() || s.list.Roster().Stats().Unread != nil
}

// listJournal records nothing before the server has decided about the list that etcd has.
// When etcd answers again, the list comes before the first grant.
type listJournal struct {
	sessions.Journal
	decided func() bool
}

var (
	errNoListYet = errors.New("the list of clients has not been read from etcd yet")
	errListOld   = errors.New("etcd does not answer, so that clients may have been revoked elsewhere")
)

// listIsOld returns an error if clients may have been revoked elsewhere. Operations open
// without a record in etcd, so that this is what refuses them. Without a list in etcd, it
// returns nil.
func (s *Server) listIsOld() error {
	if s.list == nil {
		return nil
	}
	switch now := s.list.Roster().Stats(); {
	case now.Applied+now.Refused == 0:
		return errNoListYet
	case !s.fleet.Cluster().Health().Available:
		return errListOld
	}
	return nil
}

// Record implements sessions.Journal.
func (j *listJournal) Record(entries []sessions.Entry) []error {
	if !j.decided() {
		return slices.Repeat([]error{errNoListYet}, len(entries))
	}
	return j.Journal.Record(entries)
}

// applyList puts a list in force. If it fails, the old list is in force, without the rights
// that the new one lacks.
func (s *Server) applyList(ctx context.Context, c fleetlist.Change) error {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	if c.Whole {
		s.urgent.clear()
	}
	if err := s.narrowBy(ctx, c); err != nil {
		return err
	}
	_, err := s.change(ctx, cause{followed: true}, "clients", func(current *config.Config) (*config.Config, clients.Loaded, error) {
		loaded, err := c.Load(current)
		return current, loaded, err
	})
	if err == nil || !c.Whole {
		return err
	}
	// Clients that stay may have fewer rights by the refused list.
	if failed := s.takenAway(c.Clients, s.reloads.table).narrow(ctx, s); failed != nil {
		return failed
	}
	return err
}

// reloadedList gives a new key to the list after a reload. The caller holds the lock of the
// reloads.
func (s *Server) reloadedList() {
	r := s.list.Roster()
	r.SetKey(s.reloads.current.Fleet.ClientsKey)
	if _, failed := errors.AsType[*roster.ApplyError](r.Stats().Refusal); failed {
		r.Again() // the reload may have put that list in force
	}
}

// narrowBy removes the rights that a list takes away, before the list is parsed and put in
// force as a whole. That takes seconds with a million clients, and can fail.
func (s *Server) narrowBy(ctx context.Context, c fleetlist.Change) error {
	table := s.reloads.table
	if !c.Whole {
		return s.takenAway(c.Clients, table).narrow(ctx, s)
	}
	// A whole list is rare: the plan finds the narrower rights of clients that stay, or
	// applyList if the list is refused.
	listed := make(map[wire.Identifier]bool, len(c.Clients))
	for _, x := range c.Clients {
		listed[x.ID] = true
	}
	t := takenAway{less: map[wire.Identifier][]access.ServiceID{}}
	for id := range table.Identifiers() {
		if !listed[id] && !selftest.Reserved(id) {
			t.less[id] = nil
		}
	}
	return t.narrow(ctx, s)
}

// takenAway is the rights that changes of a list take away.
type takenAway struct {
	less    map[wire.Identifier][]access.ServiceID // what clients keep; nil: nothing
	expired map[wire.Identifier][]access.ServiceID // nothing, since their time is over
}

// takenAway returns the rights that changes take away. table has the secrets in force. A
// client that it lacks may be in a list that is being put in force.
func (s *Server) takenAway(changes []roster.Change, table *verify.KeyTable) takenAway {
	wall := s.env.Clock.Wall()
	t := takenAway{map[wire.Identifier][]access.ServiceID{}, map[wire.Identifier][]access.ServiceID{}}
	for _, x := range changes {
		if selftest.Reserved(x.ID) {
			continue // no client; without the key of the list, a writer of etcd can add and delete it
		}
		if x.Line == nil {
			t.less[x.ID] = nil
			continue
		}
		now, err := clients.ParseLine(string(x.Line))
		if err != nil {
			continue // the list is refused
		}
		had, was := table.Secrets(x.ID)
		switch {
		case now.Expired(wall):
			t.expired[x.ID] = nil
		case was && s.withdrawn(had, now, wall):
			t.less[x.ID] = nil
		case now.Services != "":
			t.less[x.ID] = idsOf(now.Allowed(), s.names)
		}
	}
	return t
}

// narrow removes the rights.
func (t takenAway) narrow(ctx context.Context, s *Server) error {
	for _, part := range []struct {
		rights map[wire.Identifier][]access.ServiceID
		reason gate.EndReason
	}{{t.less, gate.Revoked}, {t.expired, gate.ClientExpired}} {
		if len(part.rights) == 0 {
			continue
		}
		if err := s.narrow(ctx, part.rights, part.reason); err != nil {
			return err
		}
	}
	return nil
}

// withdrawn reports whether a client has lost a secret that was valid.
func (s *Server) withdrawn(had verify.Secrets, now clients.Client, wall time.Time) bool {
	keys, err := ownKeys(s.following, secretsOf(clients.List{now}))
	if err != nil {
		return false // the list is refused
	}
	table, err := verify.NewKeyTable(keys)
	return err == nil && table.Withdraws(had, now.Identifier, wall)
}

// idsOf returns the services that this server has, of a list of names.
func idsOf(names, known []string) (ids []access.ServiceID) {
	for _, name := range names {
		if slices.Contains(known, name) {
			ids = append(ids, access.ID(name))
		}
	}
	return ids
}

// AwaitList waits until the list that etcd has now is in force, or refused.
func (s *Server) AwaitList(ctx context.Context) (done admin.ListStatus, err error) {
	if s.list == nil {
		return admin.ListStatus{File: true}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, awaitListTime)
	defer cancel()
	_, err = s.list.Roster().Await(ctx)
	return s.listStatus(err), nil
}

// AcceptList makes the server accept the list that etcd has, and waits as AwaitList does. If
// it cannot read which list that is, nothing changes.
func (s *Server) AcceptList(ctx context.Context) (done admin.ListStatus, err error) {
	if s.list == nil {
		return admin.ListStatus{File: true}, nil
	}
	if err := s.list.Roster().Accept(ctx); err != nil {
		return s.listStatus(err), nil
	}
	return s.AwaitList(ctx)
}

// listStatus describes the list in force. refused is why it is not that of etcd.
func (s *Server) listStatus(refused error) admin.ListStatus {
	now := s.list.Roster().Stats()
	status := admin.ListStatus{Version: now.Version, Clients: now.Clients, Held: now.Held}
	if refused == nil {
		return status
	}
	status.Refused, status.Hint = refused.Error(), hintOf(refused)
	if errors.Is(refused, context.DeadlineExceeded) {
		status.Refused, status.Unavailable = fmt.Sprintf("the list is not in force after %s", awaitListTime), true
	}
	if _, ok := errors.AsType[*cluster.UnavailableError](refused); ok {
		status.Unavailable = true
	}
	return status
}

// restrictListed takes rights from a client that a command has removed from the list in
// etcd, or changed there: also if the list is not in force here.
func (s *Server) restrictListed(ctx context.Context, id wire.Identifier, services []access.ServiceID, names []string) (done admin.Restricted, err error) {
	waiting, cancel := context.WithTimeout(ctx, awaitListTime)
	defer cancel()
	_, refused := s.list.Roster().Await(waiting)
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	defer func() { done.Clients, done.Owed = s.reloads.clients, s.owed() }()
	if refused == nil {
		if _, still := s.reloads.table.Secrets(id); still && len(services) == 0 {
			return done, fmt.Errorf("the list of clients in etcd still names client %s", id)
		}
		s.logRestricted(id, names)
		return done, nil
	}
	done.Refused = s.listStatus(refused).Refused
	if err = s.narrow(ctx, map[wire.Identifier][]access.ServiceID{id: services}, gate.Revoked); err == nil {
		s.logRestricted(id, names)
	}
	done.Less = err == nil && len(services) > 0 && len(s.gate.Names(id)) < len(services)
	return done, err
}

// restrictUnlisted takes rights from a client although the list could not be changed. They
// come back with the next list that has them.
func (s *Server) restrictUnlisted(ctx context.Context, id wire.Identifier, services []access.ServiceID) (done admin.Restricted, err error) {
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	s.urgent.mu.Lock()
	defer s.urgent.mu.Unlock()
	less := map[wire.Identifier][]access.ServiceID{id: services}
	s.urgent.add(s.copy.Loaded()+1, less)
	err = s.narrow(ctx, less, gate.Revoked)
	s.env.Log.Warn("rights reduced until the list of clients changes", "client", id, "hint", "remove the client from the list")
	done.Clients, done.Owed = s.reloads.clients, s.owed()
	done.Less = len(services) > 0 && len(s.gate.Names(id)) < len(services)
	return done, err
}

// hintOf returns the hint of an error, or nothing.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

func listCounters(s roster.Stats) counters {
	return counters{{"fleet_list_applied", s.Applied}, {"fleet_list_refused", s.Refused}}
}
