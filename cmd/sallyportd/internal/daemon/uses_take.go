package daemon

import (
	"fmt"
	"sync/atomic"

	"sallyport/sessions/gate"
	"sallyport/sessions/state"
)

// take counts a use for each command whose operation has a limit, in their order, and
// returns the error of each. When it returns, the uses are on stable storage. The command
// and the tunnel of one exchange, of which either may come first or alone, count once
// together: the mark of that lives as long as their exchange, and nothing has to
// remember it. It may wait for etcd; of the counts, it locks only that one.
func (u *uses) take(commands []command) []error {
	errs := make([]error, len(commands))
	of := map[state.UseKey][]int{}
	for i, c := range commands {
		if c.limit.uses > 0 && c.Action == gate.Open {
			of[c.limit.key] = append(of[c.limit.key], i)
		}
	}
	for k, list := range of {
		u.takeOf(k, commands, list, errs)
	}
	return errs
}

// takeOf is take for those commands in a list whose uses have one count.
func (u *uses) takeOf(k state.UseKey, commands []command, list []int, errs []error) {
	defer u.lock(k)()
	next := u.use(k)
	var taken []int
	first := map[*atomic.Bool]int{} // the command that counts for an exchange
	for _, i := range list {
		c := commands[i]
		if c.counted != nil {
			if _, twice := first[c.counted]; twice || c.counted.Load() {
				continue
			}
			first[c.counted] = i
		}
		if next.LeftOf(c.limit.uses) == 0 {
			errs[i] = errNoUses
			continue
		}
		next.Used++
		taken = append(taken, i)
	}
	if len(taken) > 0 {
		given, err := u.record(k, commands[taken[0]].limit.uses, next, len(taken))
		for n, i := range taken {
			switch {
			case err != nil:
				errs[i] = fmt.Errorf("record a use: %w", err)
			case n >= given:
				errs[i] = errNoUses
			case commands[i].counted != nil:
				commands[i].counted.Store(true)
			}
		}
	}
	for _, i := range list {
		if counted := commands[i].counted; counted != nil && !counted.Load() {
			errs[i] = errs[first[counted]]
		}
	}
}

// record writes a count, with some more uses, in the fleet and then in the state directory.
// It returns how many of them the fleet gives. The caller has locked the count.
func (u *uses) record(k state.UseKey, limit int, next state.Use, wanted int) (given int, err error) {
	given = wanted
	if u.fleet != nil {
		if given, next.Used, err = u.takeFromFleet(k, limit, wanted); err != nil {
			return 0, err
		}
	}
	u.serial.Lock()
	defer u.serial.Unlock()
	if u.uncertain.Load() || u.use(k).Unknown {
		return 0, errUncertain // since etcd was asked
	}
	return given, u.change(next)
}

// lock locks a count, and returns a function that unlocks it.
func (u *uses) lock(k state.UseKey) (unlock func()) {
	for {
		u.mu.Lock()
		other, locked := u.busy[k]
		if !locked {
			break
		}
		u.mu.Unlock()
		<-other
	}
	defer u.mu.Unlock()
	if u.busy == nil {
		u.busy = map[state.UseKey]chan struct{}{}
	}
	done := make(chan struct{})
	u.busy[k] = done
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.busy, k)
		close(done)
	}
}

// reset counts an operation from zero again.
func (u *uses) reset(k state.UseKey) error {
	defer u.lock(k)()
	if u.fleet != nil {
		if err := u.fleet.ResetUses(k.Operation, k.Secret); err != nil {
			return err
		}
	}
	u.serial.Lock()
	defer u.serial.Unlock()
	return u.change(state.Use{UseKey: k})
}

// change writes a count, and then uses it. After an error the old count stays, of
// which nothing was opened; the record may have the new one, which is not lower
// except after a reset. The caller holds serial.
func (u *uses) change(next state.Use) error {
	u.mu.Lock()
	list := state.SetUse(u.list, next, u.present)
	u.mu.Unlock()
	if err := u.write(list); err != nil {
		return err
	}
	u.set(list)
	return nil
}
