package trial

import "sallyport/cmd/sallyportd/internal/config"

// Of returns the services of a configuration that can be on trial, in its order: those of
// other programs. Stealth is the last one, if it is set.
func Of(cfg *config.Config) (all []Subject) {
	for _, p := range cfg.Firewall().Ports {
		if s := cfg.ServiceByID(p.Service); s != nil && !s.Binds() && !s.Carries() {
			all = append(all, SubjectOf(s.Name, p))
		}
	}
	if len(all) > 0 && cfg.Stealth {
		all = append(all, StealthSubject())
	}
	return all
}

// Proxied returns the services of a configuration that cannot be on trial, since the server
// stands before their programs.
func Proxied(cfg *config.Config) (all []Subject) {
	for _, p := range cfg.Firewall().Ports {
		if s := cfg.ServiceByID(p.Service); s != nil && !s.Binds() && s.Carries() {
			all = append(all, SubjectOf(s.Name, p))
		}
	}
	return all
}

// Names returns the names of services.
func Names(all []Subject) (names []string) {
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

// UnconfirmedOf returns the services of a configuration that are on trial, or were and are
// not confirmed.
func (r Record) UnconfirmedOf(cfg *config.Config) (all []Subject) {
	if len(r) == 0 {
		return nil
	}
	for _, s := range Of(cfg) {
		if r.Unconfirmed(s) {
			all = append(all, s)
		}
	}
	return all
}
