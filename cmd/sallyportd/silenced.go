package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/heldport"
	"sallyport/verify/schedule"
)

// maxSilenced is how many ports a list of silenced ports names.
const maxSilenced = 10

// silenced returns the UDP ports of other programs that stealth silences, or
// would silence: strangers' datagrams no longer reach them.
func silenced(cfg *config.Config, now time.Time) ([]heldport.Receiver, error) {
	all, err := heldport.Receivers()
	if err != nil {
		return nil, err
	}
	own, services := slices.Clone(cfg.StealthExcept), cfg.UDPPorts()
	if cfg.PortSecret.Current != "" { // a server that runs has the knock ports
		draw := cfg.PortLists()
		for _, m := range schedule.Live(now, cfg.Tolerance) {
			lists, err := draw(m)
			if err != nil {
				return nil, err
			}
			own = slices.Concat(own, slices.Concat(lists...))
		}
	}
	return slices.DeleteFunc(all, func(r heldport.Receiver) bool {
		return r.Port < schedule.MinPort || slices.Contains(own, r.Port) || access.AnyHas(services, r.Port)
	}), nil
}

// describeSilenced lists ports with their programs.
func describeSilenced(list []heldport.Receiver) string {
	var names []string
	for _, r := range list[:min(len(list), maxSilenced)] {
		names = append(names, fmt.Sprintf("%d, %s", r.Port, r.By))
	}
	text := strings.Join(names, "; ")
	if more := len(list) - len(names); more > 0 {
		text += fmt.Sprintf("; and %s more", count(more, "port"))
	}
	return text
}

// exceptHint returns the setting with which the ports stay open under stealth.
func exceptHint(cfg *config.Config, list []heldport.Receiver) string {
	ports := slices.Clone(cfg.StealthExcept)
	for _, r := range list[:min(len(list), maxSilenced)] {
		ports = append(ports, r.Port)
	}
	slices.Sort(ports)
	return "stealth_except = " + strings.ReplaceAll(fmt.Sprint(slices.Compact(ports)), " ", ", ") +
		" excepts them; a program that only receives replies requires no exception"
}

// checkSilenced warns about other programs that stealth silences. If stealth is
// only recommended, it adds which ones it would silence.
func checkSilenced(cfg *config.Config, recommended bool, now time.Time) []finding {
	if !cfg.Stealth && !recommended {
		return nil
	}
	list, err := silenced(cfg, now)
	switch {
	case err != nil:
		return []finding{warn("stealth-unknown", "", "cannot find the programs that stealth silences: %v", err)}
	case len(list) == 0:
		return nil
	case cfg.Stealth:
		return []finding{warn("stealth-silences", exceptHint(cfg, list),
			"stealth = true drops unsolicited UDP to other programs of this host: %s", describeSilenced(list))}
	}
	return []finding{{advice, "stealth-silences",
		"stealth = true also drops unsolicited UDP to other programs of this host: " + describeSilenced(list), exceptHint(cfg, list)}}
}

// recommendsStealth reports whether a piece of advice recommends stealth.
func recommendsStealth(list []finding) bool {
	return slices.ContainsFunc(list, func(f finding) bool { return strings.Contains(f.Text+f.Hint, "stealth = true") })
}

// warnSilenced logs once which other programs stealth silences. It runs in the
// process that may read the names of all programs.
func warnSilenced(cfg *config.Config, env cli.Env) {
	if !cfg.Stealth {
		return
	}
	list, err := silenced(cfg, env.Now())
	if err == nil && len(list) == 0 {
		return
	}
	log := openLog(env, logSettings{path: cfg.Path})
	defer log.stop()
	if err != nil {
		log.Warn("failed to list the programs that stealth silences", "error", err)
		return
	}
	log.Warn("stealth drops unsolicited datagrams to other programs", "programs", describeSilenced(list), "hint", exceptHint(cfg, list))
}
