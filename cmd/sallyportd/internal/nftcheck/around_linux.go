package nftcheck

import (
	"errors"
	"fmt"

	"sallyport/cmd/sallyportd/internal/config"
)

// Around looks for rules that lead packets elsewhere, past the guard or past a
// service, as Check does; it is for the start of a server. An error says that
// the rules cannot be read, or not as a whole.
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

// reach is where our table sees the packets of a service; nothing: nowhere.
type reach struct {
	before  bool // they are translated, if they are to this host's addresses
	input   bool // as they are after translation
	forward bool // by the port that they had before translation
}

func (g reach) any() bool { return g.before || g.input || g.forward }

// around is what leads around the guard.
func (r *ruleset) around(cfg *config.Config, host config.Host, a addresses) (warnings []string) {
	guarded := cfg.NeedsFirewall(host) != ""
	for i := range cfg.Services {
		s := &cfg.Services[i]
		g := reach{}
		if guarded {
			g = reachOf(cfg, i)
		}
		w := judgement{ruleset: r, cfg: cfg, addresses: a, service: s, reach: g}
		w.judge()
		warnings = append(warnings, w.warnings[:min(len(w.warnings), mostLeads)]...)
		if more := len(w.warnings) - mostLeads; more > 0 {
			warnings = append(warnings, fmt.Sprintf("service %s: %d more rules lead its packets elsewhere", s.Name, more))
		}
	}
	return append(warnings, r.knocksElsewhere(cfg, a, guarded)...)
}

// mostLeads is how many rules are named for a service.
const mostLeads = 8
