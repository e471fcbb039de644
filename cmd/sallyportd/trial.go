package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/cmd/sallyportd/internal/trial"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

const trialName = "trial"

// Bounds of the time of a trial. A second is too short to get in; a trial of days is
// forgotten.
const (
	minTrial = 10 * time.Second
	maxTrial = 24 * time.Hour
)

// trialFlag is the time of a trial: nil, if the flag is not given.
type trialFlag struct{ asked *time.Duration }

func addTrialFlag(f *pflag.FlagSet, t *trialFlag) {
	f.Var(t, trialName, "open newly hidden services to anyone again after this time, unless \"sallyportd confirm\" comes; 0: end an unconfirmed trial, and hide them for good")
}

// Type, String and Set implement pflag.Value.
func (t *trialFlag) Type() string { return "TIME" }

func (t *trialFlag) String() string {
	if t.asked == nil {
		return ""
	}
	return t.asked.String()
}

func (t *trialFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d != 0 && (d < minTrial || d > maxTrial) {
		return errors.New("expected a time from 10s to 24h, such as 5m, or 0")
	}
	t.asked = &d
	return nil
}

// arguments are those that pass the flag on to another process.
func (t *trialFlag) arguments() []string {
	if t.asked == nil {
		return nil
	}
	return []string{"--" + trialName, t.asked.String()}
}

// check returns an error if the flag is given, and the configuration has nothing that can
// be on trial, or newly hides a service that cannot.
func (t *trialFlag) check(cfg *config.Config) error {
	if t.asked == nil || len(trial.Proxied(cfg)) == 0 {
		return t.checkRecord(cfg)
	}
	record, _ := trial.Read(cfg.StateDir)
	before, _ := firewall.Inspect() // without CAP_NET_ADMIN: as if there were no table
	now, err := trial.Now()
	if err == nil {
		_, err = questionOf(cfg, privilege.TrialQuestion{Before: before, Asked: t.asked}, now).Answer(record)
	}
	if errors.Is(err, trial.ErrProxied) {
		return cli.Misuse(cli.WithHint(err, proxiedHint))
	}
	return t.checkRecord(cfg) // decideTrial reports other errors
}

// checkRecord is check, for a process that may not see the table.
func (t *trialFlag) checkRecord(cfg *config.Config) error {
	if t.asked == nil {
		return nil
	}
	if len(trial.Of(cfg)) == 0 {
		return cli.Misuse(cli.WithHint(fmt.Errorf("nothing in %s can be on trial", cfg.Path),
			"a trial is for services of type \"firewall\", to which anyone connected before"))
	}
	if _, err := trial.Read(cfg.StateDir); err != nil && *t.asked > 0 && !errors.Is(err, fs.ErrPermission) {
		return cli.Misuse(err)
	}
	return nil
}

// checkTrial warns about a trial that was not confirmed, and about a record that cannot be
// read.
func checkTrial(cfg *config.Config) []finding {
	record, err := trial.Read(cfg.StateDir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return []finding{warn("trial-record", "\"--trial 0\" replaces it; or remove the file", "%v; nothing is on trial, and everything is closed", err)}
	}
	names := trial.Names(record.UnconfirmedOf(cfg))
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []finding{warn("trial-unconfirmed", "\"sallyportd confirm\" ends a trial that runs; after it, start with --trial TIME for another one, or with --trial 0 to hide them for good",
		"services of an unconfirmed trial are open to anyone when it is over: %s", trialNames(names))}
}

// decideTrial decides what is on trial in the table that this process is about to make in
// place of one. It records a trial that begins. If the record cannot be read, nothing is
// on trial, and everything is closed.
func decideTrial(cfg *config.Config, q privilege.TrialQuestion, c clock.Clock) (a privilege.TrialAnswer, err error) {
	if q.Asked == nil { // as most often, without a record
		switch record, err := trial.Read(cfg.StateDir); {
		case err != nil:
			q.Log.Error("failed to read the record of trials; nothing is on trial", "error", err)
			return a, nil
		case len(record) == 0:
			return a, nil
		}
	}
	now, err := trial.Now()
	if err != nil {
		return a, err
	}
	var answer trial.Answer
	var earlier trial.Record
	decided := false
	err = trial.Update(cfg.StateDir, func(r trial.Record, err error) (trial.Record, error) {
		if err != nil && (q.Asked == nil || *q.Asked > 0) {
			return nil, err
		}
		earlier = maps.Clone(r)
		answer, err = questionOf(cfg, q, now).Answer(r)
		if errors.Is(err, trial.ErrProxied) {
			err = cli.WithHint(err, proxiedHint)
		}
		decided = err == nil
		return answer.Record, err
	})
	if err != nil && !decided && q.Asked == nil { // the record cannot be locked
		record, failed := trial.Read(cfg.StateDir)
		if failed != nil {
			return a, failed
		}
		if answer, failed = questionOf(cfg, q, now).Answer(record); failed != nil {
			return a, failed
		}
		decided = true
	}
	switch {
	case err != nil && decided && q.Asked == nil:
		// A holder's unit may not write there. Nothing opens without this record.
		q.Log.Warn("failed to record that hidden services are confirmed", "error", err)
	case err != nil && decided:
		return a, hint.Writing(err)
	case err != nil:
		return a, err
	case answer.Changed:
		a.Undo = func() error {
			return trial.Update(cfg.StateDir, func(r trial.Record, err error) (trial.Record, error) {
				return r.TakeBack(answer.Record, earlier), err
			})
		}
	}
	if len(answer.Closed) > 0 {
		q.Log.Info("not on trial; services were hidden before", "services", trialNames(answer.Closed))
	}
	a.On = firewall.Trial{}
	for _, s := range trial.Of(cfg) {
		if left, ok := answer.Left[s.Name]; ok {
			a.On[s.ID] = c.Monotonic().Add(left)
		}
	}
	return a, nil
}

const proxiedHint = "first put it on trial without via, or leave it out; when that is confirmed, set via: the port then stays closed"

// questionOf asks what is on trial by the table that exists.
func questionOf(cfg *config.Config, q privilege.TrialQuestion, now trial.Moment) trial.Question {
	ports := cfg.Firewall().Ports
	hides := func(s trial.Subject) (bool, error) {
		switch {
		case q.Before.Kind == firewall.Earlier:
			return true, nil
		case q.Before.Kind != firewall.Owned: // of any configuration, as this one takes its place
			return false, nil
		case s.Name == trial.Stealth:
			return q.Before.HidesStealth(), nil
		}
		i := slices.IndexFunc(ports, func(p firewall.Port) bool { return p.Service == s.ID })
		hides, err := q.Before.Hides(ports[i])
		var ambiguous *firewall.AmbiguousError
		if errors.As(err, &ambiguous) {
			err = cli.WithHint(err, "start without --trial, which hides it at once; or first run \"sallyportd firewall clear\", which opens all services to anyone")
		}
		return hides, err
	}
	return trial.Question{Subjects: trial.Of(cfg), Proxied: trial.Proxied(cfg), Hides: hides, Asked: q.Asked, Commanded: q.Commanded, Now: now}
}

// onTrial returns the names of what is on trial.
func onTrial(cfg *config.Config, on firewall.Trial) (names []string) {
	for _, s := range trial.Of(cfg) {
		if on.Has(s.ID) {
			names = append(names, trialNames([]string{s.Name}))
		}
	}
	slices.Sort(names)
	return names
}

// unconfirmed returns what the record has as on trial.
func unconfirmed(cfg *config.Config) (map[access.ServiceID]bool, error) {
	record, err := trial.Read(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	all := map[access.ServiceID]bool{}
	for _, s := range record.UnconfirmedOf(cfg) {
		all[s.ID] = true
	}
	return all, nil
}

// confirmed returns what the record has as confirmed.
func confirmed(cfg *config.Config) (map[access.ServiceID]bool, error) {
	record, err := trial.Read(cfg.StateDir)
	all := map[access.ServiceID]bool{}
	for _, s := range trial.Of(cfg) {
		all[s.ID] = record.Confirmed(s)
	}
	return all, err
}

// trialNames returns the names of services, separated by commas.
func trialNames(names []string) string {
	return strings.ReplaceAll(strings.Join(names, ","), trial.Stealth, "stealth")
}
