package nftcheck

import (
	"errors"
	"fmt"

	"sallyport/cmd/sallyportd/internal/config"
)

// Around warns of rules that redirect packets past the guard or past a service,
// as Check does; it is for the start of a server. It returns an error if it
// cannot read the rules, or not all of them.
func Around(cfg *config.Config, host config.Host) (warnings []string, err error) {
	err = use(func(r *ruleset) {
		warnings = r.around(cfg, host, thisHost())
		warnings = append(warnings, r.unreadable()...)
	})
	if errors.Is(err, errChanging) {
		err = nil
	}
	return warnings, err
}

// reach is where our table sees the packets of a service. The zero value is
// nowhere.
type reach struct {
	before  bool // before translation, packets to this host's addresses
	input   bool // after translation
	forward bool // forwarded packets, by the port that they had before translation
}

func (g reach) any() bool { return g.before || g.input || g.forward }

// around warns of rules that redirect packets around the guard.
func (r *ruleset) around(cfg *config.Config, host config.Host, a addresses) (warnings []string) {
	guarded := cfg.NeedsFirewall(host) != ""
	for i := range cfg.Services {
		s := &cfg.Services[i]
		g := reach{}
		if guarded {
			g = reachOf(cfg, i)
		}
		w := judgement{ruleset: r, cfg: cfg, addresses: a, service: s, reach: g}
		for _, w.at = range s.At() {
			w.judge()
		}
		warnings = append(warnings, w.warnings[:min(len(w.warnings), maxRedirects)]...)
		if more := len(w.warnings) - maxRedirects; more == 1 {
			warnings = append(warnings, fmt.Sprintf("service %s: one more rule redirects its packets", s.Name))
		} else if more > 1 {
			warnings = append(warnings, fmt.Sprintf("service %s: %d more rules redirect its packets", s.Name, more))
		}
	}
	return append(warnings, r.knocksElsewhere(cfg, a, guarded)...)
}

// maxRedirects is how many rules are named for one service.
const maxRedirects = 8
