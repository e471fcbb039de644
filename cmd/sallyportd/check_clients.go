package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/fleetlist"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/roster"
)

// checkedClients returns the clients for "check", with warnings about where they are. If
// the fleet's list cannot be read, they are those of the copy, with which a gateway starts.
func checkedClients(ctx context.Context, cfg *config.Config, env cli.Env) (list clients.List, found []finding, err error) {
	if cfg.FleetClients {
		list, found, err = etcdList{cfg, env}.check(ctx)
	} else {
		list, err = clientsOf(cfg, env).read(ctx, cfg.ServiceNames())
	}
	if err != nil || len(list) > 0 || len(found) > 0 {
		return list, found, err
	}
	text := "the clients file names no client, so the server accepts no knock"
	if cfg.FleetClients {
		text = "the fleet's list names no client, so no gateway accepts a knock"
	}
	if n := len(cfg.OpeningWithoutClient()); n > 0 {
		text += fmt.Sprintf("; %s that belong%s to no client can open services nevertheless", count(n, "operation"), map[bool]string{true: "s"}[n == 1])
	}
	return list, []finding{warn("no-clients", "\"sallyportd client add\" makes a client", "%s", text)}, nil
}

// check reads the list, and returns findings about it and its key.
func (f etcdList) check(ctx context.Context) (list clients.List, found []finding, err error) {
	l, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	lines, _, listErr := l.Read(ctx)
	list = clients.Of(lines)
	if listErr != nil {
		found = append(found, listFinding(listErr))
		if list, err = clients.Load(f.cfg.ClientsPath, f.cfg.SecretFiles, nil); errors.Is(err, fs.ErrNotExist) {
			err = nil // this gateway has never had a list
		}
	}
	if err == nil {
		err = checkAllServices(list, f.cfg.ServiceNames())
	}
	if err != nil {
		return nil, nil, cli.Misuse(err)
	}
	return list, append(found, f.checkKeys(ctx, l)...), nil
}

// listFinding explains why the list in etcd cannot be used.
func listFinding(err error) finding {
	var key *roster.KeyError
	var older *roster.NotNewerError
	var unavailable *cluster.UnavailableError
	var hinted interface{ Hint() string }
	hint := ""
	if errors.As(err, &hinted) {
		hint = hinted.Hint()
	}
	switch {
	case errors.Is(err, roster.ErrNone):
		return warn("fleet-list-none", hint, "[fleet]: %v", err)
	case errors.As(err, &key):
		return warn("fleet-list-key", hint, "[fleet]: %v", err)
	case errors.As(err, &older):
		return warn("fleet-list-older", hint, "[fleet]: %v; this gateway keeps its list, and no revocation reaches it", err)
	case cluster.IsDenied(err):
		return warn("fleet-denied", "grant the user its rights; the guide has the commands", "[fleet]: the user of etcd may not read the list of clients: %v", err)
	case errors.As(err, &unavailable):
		return warn("fleet-list-unread", "no revocation reaches this gateway until it reads the list: see the members of etcd",
			"[fleet]: the list of clients cannot be read: %v", err)
	}
	return warn("fleet-list-refused", hint, "[fleet]: %v; gateways keep the list that they have, and no revocation reaches them", err)
}

// checkKeys warns about a rotation of the key that is not complete.
func (f etcdList) checkKeys(ctx context.Context, l *fleetlist.List) []finding {
	ids := f.cfg.Fleet.ClientsKey.IDs()
	if len(ids) == 1 {
		return nil
	}
	sealed, err := l.Roster().KeyID(ctx)
	switch {
	case err != nil:
		return nil // it is a finding already
	case sealed == ids[0]:
		return []finding{warn("fleet-key-rotation", "when all gateways have the list, at each: sallyportd fleet-key drop",
			"[fleet]: %s still has the key %s, with which the list is no longer sealed", f.cfg.Fleet.ClientsKeyPath, ids[1])}
	case sealed == ids[1]:
		return []finding{warn("fleet-key-rotation", "when all gateways have read that file, at one of them: sallyportd fleet-key reseal",
			"[fleet]: the list of clients is not sealed with the new key of %s yet", f.cfg.Fleet.ClientsKeyPath)}
	}
	return nil
}
