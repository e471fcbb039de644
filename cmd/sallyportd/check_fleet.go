package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/sessions/fleet/cluster"
	"sallyport/sessions/fleet/presence"
)

// checkFleet warns about members of etcd that this server cannot use, and about other
// gateways that differ from this one.
func checkFleet(ctx context.Context, cfg *config.Config, list clients.List, env cli.Env) (found []finding) {
	if cfg.Fleet == nil {
		return nil
	}
	found = append(checkRelay(cfg), checkRelayed(ctx, cfg)...)
	unreachable := 0
	writes := []string{"nonces/check", "uses/check", "grants/" + cfg.Fleet.Name + "/check", "gateways/" + cfg.Fleet.Name}
	if cfg.Fleet.Split {
		writes = append(writes, "slots/check")
	}
	for _, p := range cfg.Fleet.Etcd.Check(ctx, writes...) {
		if p.Denied {
			found = append(found, warn("fleet-denied", "grant the user its rights; the guide has the commands",
				"[fleet]: the user of etcd lacks rights: %v", p.Err))
			continue
		}
		unreachable++
		found = append(found, warn("fleet-member-unreachable", "nothing opens without a majority of the members: check the address, the certificates and the password",
			"[fleet]: the member at %s cannot be used: %v", p.Endpoint, p.Err))
	}
	if unreachable == len(cfg.Fleet.Etcd.Endpoints) {
		return found
	}
	found = append(found, checkVersions(ctx, cfg)...)
	return append(found, checkGateways(ctx, cfg, list, env)...)
}

// checkVersions warns about members that do not check the rights of users everywhere.
func checkVersions(ctx context.Context, cfg *config.Config) (found []finding) {
	if cfg.Fleet.Etcd.User == "" && cfg.Fleet.Etcd.Certificate == "" {
		return nil // all gateways have all rights
	}
	for i, version := range cfg.Fleet.Etcd.Versions(ctx) {
		if !cluster.ChecksRights(version) {
			found = append(found, warn("fleet-etcd-rights", "upgrade etcd: the newest release of a series",
				"[fleet]: the member at %s has etcd %s, which does not check the rights of users in nested transactions", cfg.Fleet.Etcd.Endpoints[i], version))
		}
	}
	return found
}

// checkGateways reads what the gateways of the fleet run. It waits for a write of each, to
// compare their clocks.
func checkGateways(ctx context.Context, cfg *config.Config, list clients.List, env cli.Env) (found []finding) {
	own, err := daemon.Present(cfg, list, cli.Version())
	if err != nil {
		return []finding{warn("fleet-unreadable", "", "[fleet]: %v", err)}
	}
	wait := presence.Beat + time.Second
	ctx, cancel := context.WithTimeout(ctx, wait+2*cmp.Or(cfg.Fleet.Etcd.Timeout, cluster.DefaultTimeout))
	defer cancel()
	all, err := presence.Read(ctx, cfg.Fleet.Etcd, env.Now, wait, cfg.Fleet.GatewayNames())
	if err != nil {
		return []finding{warn("fleet-unreadable", "check that a majority of the members runs, and the rights of the user",
			"[fleet]: the other gateways cannot be compared: etcd does not answer")}
	}
	for _, other := range all {
		if other.Name == cfg.Fleet.Name {
			found = append(found, checkOwn(cfg, own, other)...)
			continue
		}
		for _, d := range presence.Compare(own, other) {
			found = append(found, differs(cfg, d))
		}
		if !other.Expires.IsZero() && !env.Now().Before(other.Expires.Add(-renewBefore)) {
			found = append(found, warn("fleet-certificate", renewHint+", at that gateway",
				"[fleet]: the certificate of gateway %s for etcd expires at %s", other.Name, env.Time(other.Expires)))
		}
	}
	return found
}

func differs(cfg *config.Config, d presence.Difference) finding {
	switch d.What {
	case "clients":
		if cfg.FleetClients {
			return warn("fleet-list-differs", "run \"check\" there, and see its log: it refuses the list, or does not reach etcd",
				"[fleet]: gateway %s has not applied the list of clients that etcd has", d.Gateway)
		}
	case "clock":
		return warn("fleet-clock", "run chrony, ntpd or systemd-timesyncd at both hosts",
			"[fleet]: the clock of gateway %s differs from this one by %s", d.Gateway, d.There)
	case "release":
		return warn("fleet-release", "upgrade one gateway after the other",
			"[fleet]: gateway %s runs release %s, this one %s", d.Gateway, d.There, d.Here)
	case "value":
		return warn("fleet-release", "upgrade one gateway after the other",
			"[fleet]: this release cannot read what gateway %s runs: %s", d.Gateway, d.There)
	}
	return warn("fleet-differs", "make that part of the configuration the same at all gateways, then \"sallyportd reload\"",
		"[fleet]: gateway %s has another %s than this one", d.Gateway, d.What)
}

// checkOwn compares the files with the server that runs under the name.
func checkOwn(cfg *config.Config, own presence.Info, running presence.Seen) (found []finding) {
	instance, err := presence.Instance(cfg.StateDir)
	other := err == nil && instance != running.Instance || errors.Is(err, fs.ErrNotExist)
	if running.Err == nil && other {
		return []finding{warn("fleet-name-used", "set another name in [fleet]",
			"[fleet]: another gateway uses the name %s: this one cannot start", cfg.Fleet.Name)}
	}
	for _, d := range presence.Compare(own, running) {
		if d.What == "clients" && cfg.FleetClients {
			found = append(found, warn("fleet-list-behind", "the log of the server has the reason: it refuses the list, or does not reach etcd",
				"[fleet]: the server that runs has not applied the list of clients that etcd has"))
		} else if d.What != "clock" {
			found = append(found, warn("fleet-not-reloaded", "\"sallyportd reload\", or restart the server",
				"[fleet]: the server that runs has another %s than these files", d.What))
		}
	}
	return found
}
