package main

import (
	"os"
	"strconv"
	"testing"
	"time"

	"sallyport/bench/netns"
)

const (
	// fleetChaosVariable makes TestFleetChaos go through all failures, and then through
	// random ones for so long. By default it goes through some.
	fleetChaosVariable = "SALLYPORT_TEST_CHAOS"
	// fleetSeedVariable makes it repeat an order.
	fleetSeedVariable = "SALLYPORT_TEST_SEED"
)

// TestFleetChaos: three gateways beside three members, under each failure: no attempt
// opens twice, none without its record, and clients get in at each gateway that reaches a
// majority.
func TestFleetChaos(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	seed := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv(fleetSeedVariable), 10, 64); err == nil {
		seed = n
	}
	w := newFleetWorld(t, seed)
	for _, g := range w.gateways {
		w.getInEverywhere(t, g, w.gateways)
	}
	length, err := time.ParseDuration(os.Getenv(fleetChaosVariable))
	if long := err == nil; long {
		for _, f := range fleetFaults {
			t.Run(f.name, func(t *testing.T) { w.suffer(t, f) })
		}
		for _, step := range fleetSteps {
			t.Run(step.name, func(t *testing.T) { step.do(w, t) })
		}
		w.walk(t, length)
		t.Run("a backup restored", w.restore)
	} else {
		for _, i := range w.chance.Perm(len(fleetFaults))[:4] {
			t.Run(fleetFaults[i].name, func(t *testing.T) { w.suffer(t, fleetFaults[i]) })
		}
		t.Run("a gateway killed between record and grant", w.killBetween)
		t.Run("a client revoked", w.revoke)
	}
	if w.judge.grants == 0 {
		t.Error("nothing has opened")
	}
	t.Logf("%d attempts, %d grants, all with their records", len(w.sent), w.judge.grants)
}

// fleetSteps are the failures that need more than a beginning and an end.
var fleetSteps = []struct {
	name string
	do   func(*fleetWorld, *testing.T)
}{
	{"a gateway killed between record and grant", (*fleetWorld).killBetween},
	{"a gateway stopped past its leases", (*fleetWorld).stopLong},
	{"leases of etcd revoked", (*fleetWorld).loseLeases},
	{"a client revoked", (*fleetWorld).revoke},
	{"the quota exceeded", (*fleetWorld).fillQuota},
}

// walk makes random failures happen.
func (w *fleetWorld) walk(t *testing.T, length time.Duration) {
	t.Helper()
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		if n := w.chance.IntN(len(fleetFaults) + len(fleetSteps)); n < len(fleetFaults) {
			t.Run(fleetFaults[n].name, func(t *testing.T) { w.suffer(t, fleetFaults[n]) })
		} else {
			step := fleetSteps[n-len(fleetFaults)]
			t.Run(step.name, func(t *testing.T) { step.do(w, t) })
		}
	}
}
