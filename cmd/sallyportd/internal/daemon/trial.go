package daemon

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/trial"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
)

// Confirm closes for good what is on trial, if this server has seen a knock that opened
// something, and the kernel knows a connection that began by a grant since the holder
// made its table. The record comes before the change: if the holder fails, the next one
// closes it.
func (s *Server) Confirm(context.Context) (done admin.Confirmation, err error) {
	s.reloads.mu.Lock() // one change at a time
	defer s.reloads.mu.Unlock()
	if s.holder == nil {
		return done, errNothingOnTrial
	}
	state, err := s.holder.Trial()
	if err != nil {
		return done, err
	}
	confirmed, over, err := confirmable(state, s.gate.knocked.Load(), s.subjectOnTrial)
	if err != nil {
		return done, err
	}
	for _, of := range confirmed {
		done.Confirmed = append(done.Confirmed, shown(of.Name))
	}
	for _, of := range over {
		done.Open = append(done.Open, shown(of.Name))
	}
	if err := trial.Confirm(s.reloads.current.StateDir, confirmed, over); err != nil {
		return admin.Confirmation{}, err
	}
	if err := s.holder.Confirm(); err != nil {
		return admin.Confirmation{}, hint.With(err, "it is recorded as confirmed: the next start of the server closes it for good, or repeat this command")
	}
	slices.Sort(done.Confirmed)
	slices.Sort(done.Open)
	return done, nil
}

// confirmable returns what a confirmation closes for good, and whose trial is over. It is
// an error if this server has seen no knock that opened something (knocked), or the kernel
// knows no connection that began by a grant: to a service on trial, if one is.
func confirmable(state holder.TrialState, knocked bool, of func(access.ServiceID) trial.Subject) (confirmed, over []trial.Subject, err error) {
	services, entered := false, false
	for _, t := range state.Tried {
		switch s := of(t.Service); {
		case s.Name == "":
		case t.Left == 0:
			over = append(over, s)
		default:
			confirmed = append(confirmed, s)
			services = services || t.Service != firewall.StealthTrial
			entered = entered || slices.Contains(state.Entered, t.Service)
		}
	}
	switch {
	case len(confirmed) == 0 && len(over) > 0:
		return nil, nil, errTrialOver
	case len(confirmed) == 0:
		return nil, nil, errNothingOnTrial
	case !knocked || services && !entered || len(state.Entered) == 0:
		return nil, nil, errNotEntered
	}
	return confirmed, over, nil
}

var (
	errNothingOnTrial = hint.With(errors.New("nothing is on trial"),
		"hidden services are closed for good; a trial begins with \"serve --trial TIME\" or \"firewall hold --trial TIME\", for newly hidden services")
	errTrialOver = hint.With(errors.New("the trial is over; the services are open to anyone"),
		"\"sallyportd reload --trial TIME\" begins another trial, and --trial 0 hides them for good")
	errNotEntered = hint.With(errors.New("the server has seen no connection that got in by a knock since the trial began"),
		"on a client: knock, open a new connection to a service on trial, keep it open, and repeat this command; a connection from before the trial, or of a trusted peer, does not count")
)

// subjectOnTrial returns a service as a subject of trials; without a name: there is none.
func (s *Server) subjectOnTrial(id access.ServiceID) trial.Subject {
	if id == firewall.StealthTrial {
		return trial.StealthSubject()
	}
	for _, of := range trial.Of(s.reloads.current) {
		if of.ID == id {
			return of
		}
	}
	return trial.Subject{}
}

// nameOnTrial returns the name of a service on trial.
func (s *Server) nameOnTrial(id access.ServiceID) string { return s.subjectOnTrial(id).Name }

// shown returns a name in the record of trials for people.
func shown(name string) string {
	if name == trial.Stealth {
		return "stealth"
	}
	return name
}

// trialsNow returns the services on trial, by the record: the holder is not asked, as it
// may be busy. Of a record that cannot be read, it returns why: a trial may run.
func trialsNow(cfg *config.Config, wall time.Time) (list []admin.Trial, unknown string) {
	record, err := trial.Read(cfg.StateDir)
	if err == nil && len(record) == 0 {
		return nil, ""
	}
	now, failed := trial.Now()
	if err = cmp.Or(err, failed); err != nil {
		return nil, err.Error()
	}
	for _, s := range record.UnconfirmedOf(cfg) {
		t := admin.Trial{Service: shown(s.Name)}
		if left := record.Left(s, now); left > 0 {
			until := wall.Add(left).UTC()
			t.Until = &until
		}
		list = append(list, t)
	}
	return list, ""
}
