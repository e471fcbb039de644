package trial

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Moment is a moment of the kernel.
type Moment struct {
	Boot      string        // identifies the kernel's start
	Monotonic time.Duration // CLOCK_MONOTONIC, by which the kernel's elements end
}

// Question asks what is on trial in a table that a process is about to make.
type Question struct {
	// Subjects are the services that can be on trial, and Stealth if it is set.
	Subjects []Subject
	// Proxied are the services with a proxy of the server before their program. They cannot
	// be on trial: the program expects the proxy's header, so that a direct connection is
	// useless, or forges a client's address.
	Proxied []Subject
	// Hides reports whether the table that exists hides a service for good. An error
	// means that this is not certain.
	Hides func(Subject) (bool, error)
	// Asked is the time of a trial of newly hidden services; 0: none is on trial; nil: a
	// trial neither begins nor ends by this start.
	Asked *time.Duration
	// Commanded: a person asks now, and not a program that starts again and again. A trial
	// that is over then begins again.
	Commanded bool
	Now       Moment
}

// Answer is the answer to a Question.
type Answer struct {
	Record Record
	// Changed: Record must be written before the table is made.
	Changed bool
	// Left is the time that each trial has left, by name; 0: it is over, and the service is
	// open.
	Left map[string]time.Duration
	// Closed are services that are not on trial, although Asked: they were hidden before.
	Closed []string
}

// Answer decides, by the record. It changes nothing.
func (q Question) Answer(r Record) (a Answer, err error) {
	a = Answer{Record: maps.Clone(r), Left: map[string]time.Duration{}}
	if a.Record == nil {
		a.Record = Record{}
	}
	if q.Asked != nil { // services that the configuration no longer has
		maps.DeleteFunc(a.Record, func(text string, _ Entry) bool {
			return !slices.ContainsFunc(slices.Concat(q.Subjects, q.Proxied), has(text))
		})
	}
	for _, s := range q.Subjects {
		if err := q.answer(&a, s); err != nil {
			return Answer{}, err
		}
	}
	for _, s := range q.Proxied {
		if err := q.proxied(&a, s); err != nil {
			return Answer{}, err
		}
	}
	a.Changed = !maps.Equal(a.Record, r)
	return a, nil
}

// has returns a function that reports whether an entry of a record is of a service.
func has(text string) func(Subject) bool {
	return func(s Subject) bool {
		known, parsed := parseKey(text)
		return s.Name == text || slices.ContainsFunc(s.Keys, func(own string) bool {
			of, ok := parseKey(own)
			return own == text || ok && parsed && known.overlaps(of)
		})
	}
}

// ErrProxied means that a service would be newly hidden that cannot be on trial.
var ErrProxied = errors.New("the server stands before its program, and only the server connects there")

// proxied decides about a service that cannot be on trial: it must be hidden already.
func (q Question) proxied(a *Answer, s Subject) error {
	if all, _ := a.Record.confirmed(s); all {
		return nil
	}
	if q.Asked == nil {
		// The table closes it for good from now on. Without this, the trial that it was on
		// before would open it when the proxy is removed.
		if _, known := a.Record.onTrial(s); known {
			a.Record.set(s, Entry{State: Confirmed})
		}
		return nil
	}
	hidden, err := q.Hides(s)
	if err == nil && !hidden && *q.Asked > 0 {
		return fmt.Errorf("service %s cannot be on trial: %w", s.Name, ErrProxied)
	}
	if err == nil {
		a.Record.set(s, Entry{State: Confirmed})
	}
	return nil
}

// errPart: no element of the kernel can shut the other ports only.
var errPart = errors.New("a part of its ports was confirmed")

func (q Question) answer(a *Answer, s Subject) error {
	name := s.Name
	confirmed, part := a.Record.confirmed(s)
	e, known := a.Record.onTrial(s)
	begins := q.Asked != nil && *q.Asked > 0
	if q.Asked != nil && *q.Asked == 0 {
		a.Record.set(s, Entry{State: Confirmed})
		return nil
	}
	if begins && part && !confirmed {
		return fmt.Errorf("service %s cannot be on trial: %w", name, errPart)
	}
	if part || !known && !begins {
		if begins {
			a.Closed = append(a.Closed, name)
		}
		return nil
	}
	hidden, err := q.Hides(s)
	switch {
	case err != nil && begins:
		return fmt.Errorf("whether %s is newly hidden is not certain: %w", name, err)
	case hidden:
		// Closed for good, whatever the record has, and also when the table is gone: after
		// the next boot, for example.
		a.Record.set(s, Entry{State: Confirmed})
		if begins {
			a.Closed = append(a.Closed, name)
		}
		return nil
	case err != nil: // closed, as long as it is not certain
		return nil
	case begins && (e.Stopped || e.Boot == "" || q.Commanded && e.Left(q.Now) == 0):
		a.Record.set(s, Entry{State: OnTrial, Boot: q.Now.Boot, Ends: q.Now.Monotonic + *q.Asked})
		a.Left[name] = *q.Asked
	default:
		a.Left[name] = e.Left(q.Now)
	}
	return nil
}

// Left returns the time that a trial has left; 0: it is over.
func (e Entry) Left(now Moment) time.Duration {
	if e.Boot == "" || e.Boot != now.Boot {
		return 0
	}
	return max(e.Ends-now.Monotonic, 0)
}
