package main

import (
	"log/slog"
	"strings"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
)

// renewBefore is how long before its end a certificate should be renewed.
const renewBefore = 30 * 24 * time.Hour

const renewHint = "renew the certificate, then \"sallyportd reload\""

// certificate is one that clients reject now, or soon.
type certificate struct {
	service, file string
	from, until   time.Time
}

// invalidCertificates returns at most one certificate a service.
func invalidCertificates(cfg *config.Config, now time.Time) (list []certificate) {
	for i := range cfg.Services {
		file, chain := cfg.Services[i].Certificate()
		for _, x := range chain {
			if now.Before(x.NotBefore) || !now.Before(x.NotAfter.Add(-renewBefore)) {
				list = append(list, certificate{cfg.Services[i].Name, file, x.NotBefore, x.NotAfter})
				break
			}
		}
	}
	return list
}

// checkCertificates warns about certificates that clients reject now, or soon.
func checkCertificates(cfg *config.Config, env cli.Env) (found []finding) {
	now := env.Now()
	for _, c := range invalidCertificates(cfg, now) {
		switch {
		case now.Before(c.from):
			found = append(found, warn("certificate-not-yet-valid", "set this host's clock, or wait", "service %s: a certificate in %s is valid from %s only", c.service, c.file, env.Time(c.from)))
		case !now.Before(c.until):
			found = append(found, warn("certificate-expired", renewHint, "service %s: a certificate in %s expired at %s", c.service, c.file, env.Time(c.until)))
		default:
			found = append(found, warn("certificate-expires", renewHint, "service %s: a certificate in %s expires at %s, in %s",
				c.service, c.file, env.Time(c.until), count(int(c.until.Sub(now)/(24*time.Hour)), "day")))
		}
	}
	return found
}

// warnOfLimits logs what will stop a server from working some day, or under load.
func warnOfLimits(cfg *config.Config, now time.Time, log *slog.Logger) {
	for _, c := range invalidCertificates(cfg, now) {
		log := log.With("service", c.service, "file", c.file)
		switch {
		case now.Before(c.from):
			log.Warn("certificate not yet valid", "expires", c.until.UTC(), "hint", "set this host's clock, or wait")
		case !now.Before(c.until):
			log.Warn("certificate expired", "expires", c.until.UTC(), "hint", renewHint)
		default:
			log.Warn("certificate expires soon", "expires", c.until.UTC(), "hint", renewHint)
		}
	}
	if needed, _, _, _ := descriptorsNeeded(cfg, now); uint64(needed) > descriptorLimit() {
		log.Warn("limit of open files too low for all knock ports", "needed", needed, "limit", descriptorLimit(), "hint", limitHint)
	}
	if services := limitedPrograms(cfg, descriptorLimit()); len(services) > 0 {
		log.Warn("limit of open files too low for programs", "services", strings.Join(services, ","), "limit", descriptorLimit(), "hint", programLimitHint)
	}
}
