package daemon

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/verify/wire"
)

// maxNamed is how many clients, or keys of the configuration, a line of the log names.
const maxNamed = 20

// differences are the clients that a reload adds, removes and changes, and the keys of the
// configuration that it changes.
type differences struct {
	added, removed, changed []wire.Identifier
	keys                    []string
}

// differencesOf compares a plan with the settings in force: secrets and rights.
func (s *Server) differencesOf(p plan) (d differences) {
	before, after := s.reloads.table, p.settings.Rules.Table
	if before == nil {
		return d
	}
	rights := s.gate.Differs(maps.All(p.restricted))
	for id := range before.Identifiers() {
		had, _ := before.Secrets(id)
		has, still := after.Secrets(id)
		switch {
		case !still:
			d.removed = append(d.removed, id)
		case had != has || rights(id):
			d.changed = append(d.changed, id)
		}
	}
	for id := range p.isClient {
		if _, was := before.Secrets(id); !was {
			d.added = append(d.added, id)
		}
	}
	return d
}

func (d differences) log(log *slog.Logger, what string, clients int, filter string) {
	attrs := []any{"what", what, "clients", clients, "kernel_filter", filter}
	if len(d.added) > 0 {
		attrs = append(attrs, "added", named(d.added))
	}
	if len(d.removed) > 0 {
		attrs = append(attrs, "removed", named(d.removed))
	}
	if len(d.changed) > 0 {
		attrs = append(attrs, "changed", named(d.changed))
	}
	if len(d.keys) > 0 {
		attrs = append(attrs, "keys", listed(d.keys, maxNamed))
	}
	log.Info("reloaded", attrs...)
}

// named returns the identifiers of clients, separated by commas. It names the first
// ones, and counts the others.
func named(ids []wire.Identifier) string { return namedUpTo(ids, maxNamed) }

// namedUpTo is named for a number of clients.
func namedUpTo(ids []wire.Identifier, most int) string {
	slices.SortFunc(ids, func(a, b wire.Identifier) int { return slices.Compare(a[:], b[:]) })
	var names []string
	for _, id := range ids[:min(len(ids), most)] {
		names = append(names, id.String())
	}
	return andOthers(names, len(ids)-len(names))
}

// listed returns at most a number of names, and counts the others.
func listed(names []string, most int) string {
	n := min(len(names), most)
	return andOthers(names[:n], len(names)-n)
}

// andOthers returns names, separated by commas, and a number of others.
func andOthers(names []string, others int) string {
	text := strings.Join(names, ",")
	if others > 0 {
		text += fmt.Sprintf(" and %d others", others)
	}
	return text
}

// logRotations logs the old secrets that have expired since the last check.
func (w *startWatch) logRotations(s *Server, now time.Time) {
	since := w.checked
	w.checked = now
	over := func(until time.Time) bool { return until.After(since) && !until.After(now) }
	s.reloads.mu.Lock()
	defer s.reloads.mu.Unlock()
	for id, until := range s.reloads.rotations {
		if over(until) {
			s.env.Log.Info("old secret expired", "client", id, "until", until.UTC().Format(time.RFC3339))
		}
	}
	if secret := s.reloads.current.PortSecret; secret.Previous != "" && over(secret.Until) {
		s.env.Log.Info("old port secret expired; its ports close", "until", secret.Until.UTC().Format(time.RFC3339))
	}
}
