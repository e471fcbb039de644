package main

import (
	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/nftcheck"
)

// warnAround logs which rules of other programs lead packets around the guard.
// It is for the process that has CAP_NET_ADMIN, before it drops it, and keeps
// none from starting: it takes some seconds at most.
func warnAround(cfg *config.Config, host config.Host, env cli.Env) {
	if !host.NetAdmin() {
		return // it could read nothing
	}
	warnings, err := nftcheck.Around(cfg, host)
	if err == nil && len(warnings) == 0 {
		return
	}
	log, _, stop := openLog(env)
	defer stop()
	for _, w := range warnings {
		log.Warn("rule of another program bypasses the guard", "rule", w)
	}
	if err != nil {
		log.Warn("failed to read rules of other programs", "error", err)
	}
}
