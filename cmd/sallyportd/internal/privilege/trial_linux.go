package privilege

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
)

// trials are the trials of the table that this process guards.
type trials struct {
	of   func() (*kept, Held)
	load func() (Held, error) // reads the configuration again
}

func (h Held) decideTrial(q TrialQuestion) (a TrialAnswer, err error) {
	if h.Trial == nil {
		return a, nil
	}
	return h.Trial(q)
}

// unlessMade takes the record of a trial back if the table was not made: a trial that
// never began is not over at the next start. If the kernel has the table nevertheless, the
// trial has begun.
func (a TrialAnswer) unlessMade() error {
	if a.Undo == nil {
		return nil
	}
	if now, err := firewall.Inspect(); err == nil && now.Tries() {
		return nil
	}
	return a.Undo()
}

// Begin implements holder.Trials. A reload of the server can newly hide what stealth drops,
// and nothing else: a change of the services requires a restart.
func (t trials) Begin(silence *firewall.Silence, asked *time.Duration) (undo func() error, err error) {
	k, held := t.of()
	if !k.hidesMore(silence) && asked == nil {
		return nil, nil // the server's commit does the rest
	}
	next, err := t.load()
	if err != nil {
		return nil, err
	}
	if next.digest() != held.digest() {
		return nil, errOtherServices
	}
	return k.hide(next, asked)
}

// errOtherServices: the services have changed, not only how strangers are answered.
var errOtherServices = errors.New("the services behind the firewall have changed, which requires a restart")

// hide puts in force how the table answers strangers by another configuration with the same
// services, if that newly hides something, or a trial is asked for. The record comes
// before the table.
func (k *kept) hide(next Held, asked *time.Duration) (undo func() error, err error) {
	k.trials.Lock()
	defer k.trials.Unlock()
	earlier, on, silence := k.table.Silence(), k.table.Trial(), next.Firewall.Silence()
	newly := k.hidesMore(silence)
	if !newly && asked == nil {
		return nil, nil
	}
	if !newly && *asked > 0 && silence.Stealth && !on.Has(firewall.StealthTrial) && lacks(silence.Except, earlier.Except) {
		return nil, errExceptOnTrial
	}
	before, err := firewall.Inspect()
	if err != nil {
		return nil, err
	}
	trial, err := next.decideTrial(TrialQuestion{before, asked, asked != nil, k.log})
	if err != nil {
		return nil, err
	}
	takeBack := func() error {
		if trial.Undo == nil {
			return nil
		}
		return trial.Undo()
	}
	if !newly && sameTrial(on, trial.On) {
		return takeBack, nil
	}
	if err := k.table.SetSilenceOnTrial(silence, trial.On); err != nil {
		return nil, errors.Join(err, takeBack())
	}
	if len(on) > 0 && len(trial.On) == 0 {
		k.log.Info("trial ended by command; services closed for good", "services", next.names(slices.Collect(maps.Keys(on))))
	}
	next.logTrial(k.log, trial.On, k.clock)
	k.watch(next)
	return func() error {
		k.trials.Lock()
		defer k.trials.Unlock()
		// The record comes first: it knows the confirmations since.
		err := takeBack()
		still, unreadable := next.unconfirmedOf(on)
		return errors.Join(err, unreadable, k.table.SetSilenceOnTrial(earlier, still))
	}, nil
}

// unconfirmedOf returns what the record of trials does not have as confirmed. If the record
// cannot be read, nothing is on trial.
func (h Held) unconfirmedOf(on firewall.Trial) (firewall.Trial, error) {
	stay := firewall.Trial{}
	unconfirmed, err := h.Unconfirmed()
	for id, end := range on {
		if unconfirmed[id] {
			stay[id] = end
		}
	}
	return stay, err
}

// hidesMore reports whether stealth is newly in force by a silence.
func (k *kept) hidesMore(next *firewall.Silence) bool {
	return next.Stealth && !k.table.Silence().Stealth
}

// sameTrial reports whether the same is on trial, until the same times.
func sameTrial(a, b firewall.Trial) bool {
	return maps.EqualFunc(a, b, func(x, y time.Time) bool { return x.Sub(y).Abs() < time.Second })
}

// watch logs when what is on trial is over.
func (k *kept) watch(held Held) {
	if k.unwatch != nil {
		k.unwatch()
	}
	ctx, cancel := context.WithCancel(k.context)
	k.unwatch = cancel
	go k.watchTrial(ctx, held)
}

// errExceptOnTrial: Stealth is on trial as a whole.
var errExceptOnTrial = errors.New("ports that stealth_except no longer has cannot be on trial, because stealth is in force: reload without a trial, or restart with stealth on trial")

// lacks reports whether a list lacks one of the ports.
func lacks(list, ports []uint16) bool {
	return slices.ContainsFunc(ports, func(p uint16) bool { return !slices.Contains(list, p) })
}

// State implements holder.Trials.
func (t trials) State() (state holder.TrialState, err error) {
	k, _ := t.of()
	on := k.table.Trial()
	if len(on) == 0 {
		return state, nil
	}
	now := k.clock.Monotonic()
	for id, end := range on {
		state.Tried = append(state.Tried, holder.Tried{Service: id, Left: max(end.Sub(now), 0)})
	}
	state.Entered, err = k.table.Entered()
	return state, err
}

// Confirm implements holder.Trials.
func (t trials) Confirm() error {
	k, held := t.of()
	k.trials.Lock()
	defer k.trials.Unlock()
	on := k.table.Trial()
	stay, err := held.unconfirmedOf(on)
	if err != nil {
		return err
	}
	if len(stay) == len(on) && k.closedConfirmed {
		return nil
	}
	if len(stay) == len(on) {
		return errors.New("the record of trials has nothing confirmed that is on trial")
	}
	if err := k.table.SetTrial(stay); err != nil {
		return err
	}
	held.logConfirmed(k.log, on, stay)
	return nil
}

func (h Held) logConfirmed(log *slog.Logger, on, stay firewall.Trial) {
	var confirmed []access.ServiceID
	for id := range on {
		if !stay.Has(id) {
			confirmed = append(confirmed, id)
		}
	}
	log.Info("trial confirmed; services closed for good", "services", h.names(confirmed))
}

// closeConfirmed closes for good what the record has as confirmed: a server may die between
// the record of a confirmation and its request to this process. Of a record that is missing,
// or cannot be read, everything stays on trial. It returns false if it must be repeated.
func (k *kept) closeConfirmed(held Held) (ok bool) {
	if held.Confirmed == nil {
		return true
	}
	k.trials.Lock()
	defer k.trials.Unlock()
	on := k.table.Trial()
	confirmed, err := held.Confirmed()
	if err != nil || len(on) == 0 {
		return true
	}
	stay := maps.Clone(on)
	maps.DeleteFunc(stay, func(id access.ServiceID, _ time.Time) bool { return confirmed[id] })
	if len(stay) == len(on) {
		return true
	}
	if err := k.table.SetTrial(stay); err != nil {
		k.log.Error("failed to close confirmed services for good; retrying", "error", err)
		return false
	}
	k.closedConfirmed = true
	held.logConfirmed(k.log, on, stay)
	return true
}

// logTrial logs what is on trial in a table that was just made.
func (h Held) logTrial(log *slog.Logger, on firewall.Trial, c clock.Clock) {
	now := c.Monotonic()
	var over []access.ServiceID
	running := map[time.Time][]access.ServiceID{}
	for id, end := range on {
		if end.After(now) {
			running[end] = append(running[end], id)
		} else {
			over = append(over, id)
		}
	}
	for end, ids := range running {
		log.Warn("services on trial; they open to anyone unless confirmed", "services", h.names(ids), "until", c.Wall().Add(end.Sub(now)).UTC().Format(time.RFC3339),
			"hint", "get in by a knock, stay connected, and run: sallyportd confirm")
	}
	if len(over) > 0 {
		log.Warn("trial not confirmed; services open to anyone", "services", h.names(over),
			"hint", "start again with --trial TIME for another trial, or with --trial 0 to hide them for good")
	}
}

// stopped records that a server has stopped in order.
func (h Held) stopped(log *slog.Logger) {
	if h.Stopped == nil {
		return
	}
	if err := h.Stopped(); err != nil {
		log.Warn("failed to record the end of the trial", "error", err)
	}
}

// trialPause is the longest time between two looks at a trial: the end of one that is
// confirmed does not wake watchTrial.
const trialPause = time.Minute

// watchTrial logs when a trial is over, and closes what is confirmed, until ctx ends.
func (k *kept) watchTrial(ctx context.Context, h Held) {
	c, log := k.clock, k.log
	logged := c.Monotonic()
	for {
		closed := k.closeConfirmed(h)
		on := k.table.Trial()
		next, now := on.NextEnd(logged), c.Monotonic()
		if next.IsZero() && closed {
			return
		}
		wait := trialPause
		if !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
		if wait <= 0 {
			var over []access.ServiceID
			for id, end := range on {
				if end.After(logged) && !end.After(now) {
					over = append(over, id)
				}
			}
			log.Warn("trial over without confirmation; services open to anyone", "services", h.names(over))
			logged = now
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// names returns the names of services, separated by commas.
func (h Held) names(ids []access.ServiceID) string {
	var names []string
	for _, s := range h.Policy.Services {
		if slices.Contains(ids, s.ID) {
			names = append(names, s.Name)
		}
	}
	if slices.Contains(ids, firewall.StealthTrial) {
		names = append(names, "stealth")
	}
	return strings.Join(names, ",")
}
