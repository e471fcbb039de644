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
	log, _, stop := openLog(env)
	defer stop()
	for _, rule := range rules {
		log.Warn("rules of other programs bypass the firewall table or a service", "rule", rule)
	}
	if err != nil {
		log.Warn("cannot read the rules of other programs; packets may bypass the firewall table", "error", err)
	}
}
