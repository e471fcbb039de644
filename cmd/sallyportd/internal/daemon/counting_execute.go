package daemon

import (
	"errors"

	"sallyport/cmd/sallyportd/internal/tracing"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/state"
)

// executes returns the operation of a proof, if the proof may be executed now: the
// operation was not removed, and its client has not expired, since the exchange began.
func (c *challenger) executes(p proof) (o operation, ok bool) {
	o, ok = c.operations.Load().byID[p.Operation().ID()]
	return o, ok && o.protocol == p.Operation() && c.may(o, p.from) && o.performs(p)
}

// executeProofs executes the commands of proofs, all in one call, except for those whose
// uses must be counted before: these are executed later (count).
func (c *challenger) executeProofs(all []proof) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var now []command
	var later []*pendingUse
	for _, p := range all {
		o, ok := c.executes(p)
		if !ok {
			continue
		}
		next := &pendingUse{proof: p, command: o.command(p, c.wall()), slot: o.slot(p)}
		if next.command.counts() {
			later = append(later, next)
			continue
		}
		now = append(now, next.command)
		c.supersede(next, nil)
	}
	for _, p := range later {
		c.supersede(p, &p.command.limit.key)
		switch c.counting.begin(p, c.count) {
		case useTaken:
			c.proofs.counts.superseded.Add(1)
			c.traced(p.command.operation, tracing.Superseded, p.command.Grant.Address, nil)
		case useLost:
			c.proofs.counts.lost.Add(1)
			c.traced(p.command.operation, tracing.Lost, p.command.Grant.Address, nil)
		}
	}
	c.executeNow(now)
}

// supersede drops the proofs that a newer one replaces or closes, except for those of an
// operation whose use it takes.
func (c *challenger) supersede(next *pendingUse, except *state.UseKey) {
	n := c.counting.drop(func(p *pendingUse) bool {
		closed := next.command.Action == gate.Close && p.command.at == next.command.at
		return closed || p.slot == next.slot && (except == nil || p.command.limit.key != *except || !p.gives(next))
	})
	c.proofs.counts.superseded.Add(uint64(n))
}

// dropWaiting drops the commands that wait for their use. It may be called on nil.
func (c *challenger) dropWaiting(match func(command) bool) {
	if c != nil {
		c.counting.drop(func(p *pendingUse) bool { return match(p.command) })
	}
}

// count counts the uses of an operation, and executes what may still be used, until
// nothing waits. It holds no lock while etcd or the disk is slow.
func (c *challenger) count(k state.UseKey) {
	for {
		commands := c.counting.next(k)
		if len(commands) == 0 {
			return
		}
		c.executeCounted(k, c.uses.take(commands))
	}
}

// executeCounted executes the commands whose uses were counted, if they may still be
// executed. Their uses are on stable storage.
func (c *challenger) executeCounted(k state.UseKey, errs []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ready []command
	for i, p := range c.counting.end(k) {
		if p.tunnel != nil {
			p.tunnel <- errs[i] // letIn checks the operation
			continue
		}
		if o, ok := c.executes(p.proof); p.dropped || !ok {
			continue
		} else if errs[i] != nil {
			c.logResult(p.command, errs[i])
		} else {
			ready = append(ready, o.command(p.proof, c.wall()))
		}
	}
	c.executeNow(ready)
}

// countTunnel counts the use of a tunnel.
func (c *challenger) countTunnel(do command) error {
	if !do.counts() {
		return nil
	}
	p := &pendingUse{command: do, tunnel: make(chan error, 1)}
	if c.counting.begin(p, c.count) == useLost {
		return errOperationGone
	}
	return <-p.tunnel
}

// executeNow executes commands, and logs the result of each. The caller holds mu.
func (c *challenger) executeNow(commands []command) {
	if len(commands) == 0 {
		return
	}
	for i, err := range c.execute(commands) {
		c.logResult(commands[i], err)
	}
}

func (c *challenger) logResult(o command, err error) {
	if err == nil {
		c.traced(o.operation, tracing.Executed, o.Grant.Address, nil)
	} else {
		c.traced(o.operation, tracing.Refused, o.Grant.Address, err)
	}
	switch {
	case errors.Is(err, errNoUses):
		c.log.Warn("operation refused; no uses left", "operation", o.operation, "address", access.AddressText(o.Grant.Address))
	case err != nil:
		c.log.Error("failed to execute an operation", "operation", o.operation, "address", access.AddressText(o.Grant.Address), "error", err)
	default:
		c.logExecuted(o)
	}
}
