package main

import (
	"crypto/x509"
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
	fleet       bool   // of this server, for etcd
	service     string // empty: of the [[challenge.http]] at listen
	listen      string
	file        string
	from, until time.Time
}

func (c certificate) owner() string {
	if c.fleet {
		return "[fleet]"
	}
	if c.service == "" {
		return "[[challenge.http]] at " + c.listen
	}
	return "service " + c.service
}

// log names the owner in a log.
func (c certificate) log(log *slog.Logger) *slog.Logger {
	if c.fleet {
		return log.With("file", c.file)
	}
	if c.service == "" {
		return log.With("listen", c.listen, "file", c.file)
	}
	return log.With("service", c.service, "file", c.file)
}

// invalidCertificates returns at most one certificate a service and listener.
func invalidCertificates(cfg *config.Config, now time.Time) (list []certificate) {
	add := func(c certificate, chain []*x509.Certificate) {
		for _, x := range chain {
			if now.Before(x.NotBefore) || !now.Before(x.NotAfter.Add(-renewBefore)) {
				c.from, c.until = x.NotBefore, x.NotAfter
				list = append(list, c)
				return
			}
		}
	}
	for i := range cfg.Services {
		file, chain := cfg.Services[i].Certificate()
		add(certificate{service: cfg.Services[i].Name, file: file}, chain)
	}
	for i := range cfg.HTTP() {
		h := &cfg.HTTP()[i]
		file, chain := h.Certificate()
		add(certificate{listen: h.Listen, file: file}, chain)
	}
	if cfg.Fleet != nil {
		file, chain := cfg.Fleet.CertificateChain()
		add(certificate{fleet: true, file: file}, chain)
	}
	return list
}

// checkCertificates warns about certificates that clients reject now, or soon.
func checkCertificates(cfg *config.Config, env cli.Env) (found []finding) {
	now := env.Now()
	for _, c := range invalidCertificates(cfg, now) {
		switch {
		case now.Before(c.from):
			found = append(found, warn("certificate-not-yet-valid", "set this host's clock, or wait", "%s: a certificate in %s is valid from %s only", c.owner(), c.file, env.Time(c.from)))
		case !now.Before(c.until):
			found = append(found, warn("certificate-expired", renewHint, "%s: a certificate in %s expired at %s", c.owner(), c.file, env.Time(c.until)))
		default:
			found = append(found, warn("certificate-expires", renewHint, "%s: a certificate in %s expires at %s, in %s",
				c.owner(), c.file, env.Time(c.until), count(int(c.until.Sub(now)/(24*time.Hour)), "day")))
		}
	}
	return found
}

// warnOfLimits logs what will stop a server from working some day, or under load.
func warnOfLimits(cfg *config.Config, now time.Time, log *slog.Logger) {
	for _, c := range invalidCertificates(cfg, now) {
		log := c.log(log)
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
