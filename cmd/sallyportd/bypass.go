package main

import (
	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/nftcheck"
)

// warnBypass logs rules of other programs by which packets bypass the firewall's
// table or a service. It runs in the process that has CAP_NET_ADMIN, before that
// drops it. It never prevents a start, and takes some seconds at most.
func warnBypass(cfg *config.Config, host config.Host, env cli.Env) {
	if !host.NetAdmin() {
		return // the rules are unreadable
	}
	rules, err := nftcheck.Around(cfg, host)
	if err == nil && len(rules) == 0 {
		return
	}
	log := openLog(env, logSettings{path: cfg.Path})
	defer log.stop()
	for _, rule := range rules {
		log.Warn("rule of another program bypasses the guard", "rule", rule)
	}
	if err != nil {
		log.Warn("failed to read rules of other programs", "error", err)
	}
}
