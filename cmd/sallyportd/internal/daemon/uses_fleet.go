package daemon

import (
	"errors"

	"sallyport/sessions/state"
	"sallyport/verify"
)

// fleetUses counts the uses of operations for all servers of a fleet.
type fleetUses interface {
	TakeUses(operation string, secret verify.Fingerprint, local, limit, wanted uint32) (taken, used uint32, err error)
	ResetUses(operation string, secret verify.Fingerprint) error
}

// errUncertain is the reason for which an operation gives no use after a gap.
var errUncertain = errors.New("etcd has lost a part of its record")

// takeFromFleet counts up to wanted uses in the fleet. It returns how many it has counted,
// and how many there are now. The caller has locked the count.
func (u *uses) takeFromFleet(k state.UseKey, limit, wanted int) (given int, used uint32, err error) {
	if u.uncertain.Load() {
		return 0, 0, errUncertain
	}
	taken, used, err := u.fleet.TakeUses(k.Operation, k.Secret, u.use(k).Used, uint32(limit), uint32(wanted))
	return int(taken), used, err
}

// lose makes all operations with a limit unavailable at this server, until they are
// reset: etcd may count fewer uses than were given. It must not wait for etcd.
func (u *uses) lose(failed func(error)) {
	u.uncertain.Store(true)
	go func() {
		u.serial.Lock()
		defer u.serial.Unlock()
		u.mu.Lock()
		list := state.AfterLoss(u.list, u.present)
		u.mu.Unlock()
		if err := u.write(list); err != nil {
			failed(err)
			return // and stays uncertain
		}
		u.set(list)
		u.uncertain.Store(false)
	}()
}
