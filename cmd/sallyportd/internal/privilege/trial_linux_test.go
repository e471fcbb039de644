package privilege

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

// TestTrialWithoutTable: the record of a trial is taken back if the table cannot be made, and
// kept if the kernel has the table nevertheless, whose trial then runs.
func TestTrialWithoutTable(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	ssh := access.ID("ssh")
	undone, failed := 0, errors.New("undo")
	hour := func(id access.ServiceID) firewall.Trial {
		return firewall.Trial{id: clock.System().Monotonic().Add(time.Hour)}
	}
	of := func(on firewall.Trial) Held {
		return Held{
			Guards: true, Owner: firewall.Owner{Config: "/test"}, Firewall: firewall.Config{Ports: []firewall.Port{{Service: ssh, Protocol: firewall.TCP, Port: 22}}},
			Trial: func(TrialQuestion) (TrialAnswer, error) {
				return TrialAnswer{On: on, Undo: func() error { undone++; return failed }}, nil
			},
		}
	}
	h, log := Holding{Clock: clock.System()}, slog.New(slog.DiscardHandler)
	// No table can have this trial.
	if _, err := h.keep(of(hour(access.ID("none"))), nil, log); err == nil || !errors.Is(err, failed) || undone != 1 {
		t.Errorf("%v, undone %d times", err, undone)
	}
	k, err := h.keep(of(hour(ssh)), nil, log)
	if err != nil || undone != 1 {
		t.Fatalf("%v, undone %d times", err, undone)
	}
	k.stop()
	if err := (TrialAnswer{Undo: func() error { undone++; return nil }}).unlessMade(); err != nil || undone != 1 {
		t.Errorf("the kernel has the table: %v, undone %d times", err, undone)
	}
	if err := firewall.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := (TrialAnswer{Undo: func() error { undone++; return nil }}).unlessMade(); err != nil || undone != 2 {
		t.Errorf("the kernel has no table: %v, undone %d times", err, undone)
	}
}

// TestConfirmWhileReloading: a confirmation that comes while a command puts stealth on trial
// is not undone by that, and the abort of that command does not undo it either.
func TestConfirmWhileReloading(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	ssh, system := access.ID("ssh"), clock.System()
	until := system.Monotonic().Add(time.Hour)
	var k *kept
	confirmed, failed := make(chan error, 1), error(nil)
	held := Held{
		Guards: true, Owner: firewall.Owner{Config: "/test"}, Firewall: firewall.Config{Ports: []firewall.Port{{Service: ssh, Protocol: firewall.TCP, Port: 22}}},
		Unconfirmed: func() (map[access.ServiceID]bool, error) { return nil, nil },
	}
	held.Trial = func(q TrialQuestion) (TrialAnswer, error) { return TrialAnswer{On: firewall.Trial{ssh: until}}, nil }
	k, err := Holding{Clock: system}.keep(held, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer k.stop()
	next := held
	next.Firewall.Stealth = true
	next.Trial = func(TrialQuestion) (TrialAnswer, error) { // the decision is before the confirmation
		go func() { confirmed <- trials{of: func() (*kept, Held) { return k, held }}.Confirm() }()
		select {
		case failed = <-confirmed:
			confirmed <- failed
		case <-time.After(time.Second): // it waits, as it must
		}
		return TrialAnswer{On: firewall.Trial{ssh: until, firewall.StealthTrial: until}}, nil
	}
	undo, err := k.hide(next, new(time.Hour))
	if err := errors.Join(err, <-confirmed); err != nil {
		t.Fatal(err)
	}
	if on := k.table.Trial(); on.Has(ssh) {
		t.Errorf("on trial again: %v", on)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	if on := k.table.Trial(); on.Has(ssh) {
		t.Errorf("on trial again after the abort: %v", on)
	}
}

// TestConfirmedWithoutServer: the server dies after the record of a confirmation, and before
// it asks the holder. The holder closes the service for good by the record, and no other.
func TestConfirmedWithoutServer(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	ssh, db, system := access.ID("ssh"), access.ID("db"), clock.System()
	until := system.Monotonic().Add(time.Hour)
	held := Held{
		Guards: true, Owner: firewall.Owner{Config: "/test"}, Firewall: firewall.Config{Ports: []firewall.Port{
			{Service: ssh, Protocol: firewall.TCP, Port: 22}, {Service: db, Protocol: firewall.TCP, Port: 5432}}},
		Trial: func(TrialQuestion) (TrialAnswer, error) {
			return TrialAnswer{On: firewall.Trial{ssh: until, db: until}}, nil
		},
		Unconfirmed: func() (map[access.ServiceID]bool, error) { return map[access.ServiceID]bool{db: true}, nil },
		Confirmed:   func() (map[access.ServiceID]bool, error) { return map[access.ServiceID]bool{ssh: true}, nil },
	}
	k, err := Holding{Clock: system}.keep(held, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer k.stop()
	for end := time.Now().Add(time.Minute); k.table.Trial().Has(ssh); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still on trial: %v", k.table.Trial())
		}
	}
	if on := k.table.Trial(); !on.Has(db) {
		t.Errorf("not on trial any more: %v", on)
	}
	if err := (trials{of: func() (*kept, Held) { return k, held }}).Confirm(); err != nil {
		t.Errorf("the server asks later: %v", err)
	}
}
