package daemon

import (
	"slices"
	"sync"

	"sallyport/sessions/gate"
	"sallyport/sessions/state"
)

// counting are the proofs and tunnels whose uses are being counted, which waits for etcd or
// the disk. No lock is held meanwhile: other operations, reloads and revocations go on.
//
//	executeProofs -> begin -> waiting ┐  one goroutine for each operation (count):
//	letIn         -> begin -> waiting ┘    next: all that wait -> asked -> uses.take
//	                                       end:  those still wanted -> executed, let in
//
// The order of proofs is the same as without a limit. While a proof is here, a newer one of
// its slot takes its place, and its use if it is for the same operation: a client that
// starts over while etcd is slow does not use the operation twice, except as gives has it.
// Operations that close,
// closing attempts and the administrator drop the proofs that they would have closed; the
// use of such a proof may be lost. The zero value is ready. Its methods may be called
// concurrently.
type counting struct {
	mu     sync.Mutex
	closed bool
	of     map[state.UseKey]*counted // those with a goroutine, at most one for each operation
	all    sync.WaitGroup
}

// counted has the proofs and tunnels of one operation. It is guarded by counting.mu.
type counted struct {
	waiting []*pendingUse
	asked   []*pendingUse // uses.take counts them
}

// pendingUse is a proof, or a tunnel, that requires a use.
type pendingUse struct {
	proof   proof
	command command
	slot    slot       // of a proof
	tunnel  chan error // nil: it is a proof
	asked   bool       // uses.take counts it
	dropped bool
}

// gives reports whether a newer proof of the same slot and operation may take the use. Once
// it is being counted, a use stays with its exchange if a tunnel can come of either: no
// other use is counted for the tunnel then (see uses.take).
func (p *pendingUse) gives(next *pendingUse) bool {
	return !p.asked || p.proof.counted == nil && next.proof.counted == nil
}

func (p *pendingUse) wanted() bool { return p.tunnel == nil && !p.dropped }

// counts reports whether a command requires a use.
func (c command) counts() bool {
	return c.limit.uses > 0 && c.Action == gate.Open && (c.counted == nil || !c.counted.Load())
}

// The results of begin.
const (
	useWaits = iota
	useTaken // it takes the place of an earlier proof, with its use
	useLost  // too many wait, or the server stops
)

// begin adds a proof or a tunnel. count must count the uses of its operation, until next
// returns none; begin calls it in another goroutine unless one does so already.
func (c *counting) begin(p *pendingUse, count func(state.UseKey)) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := p.command.limit.key
	if c.closed {
		return useLost
	}
	if p.tunnel == nil && c.replace(p) {
		return useTaken
	}
	of := c.of[k]
	if of == nil {
		if c.of == nil {
			c.of = map[state.UseKey]*counted{}
		}
		of = new(counted)
		c.of[k] = of
		c.all.Go(func() { count(k) })
	}
	// Tunnels have their own bounds.
	if p.tunnel == nil && len(of.waiting) >= proofsPerOperation {
		return useLost
	}
	of.waiting = append(of.waiting, p)
	return useWaits
}

// replace puts a proof in the place of the one of the same slot and operation. The caller
// holds mu.
func (c *counting) replace(p *pendingUse) bool {
	of := c.of[p.command.limit.key]
	if of == nil {
		return false
	}
	for _, list := range [][]*pendingUse{of.asked, of.waiting} {
		for _, was := range list {
			if was.wanted() && was.slot == p.slot && was.gives(p) {
				was.proof, was.command = p.proof, p.command
				return true
			}
		}
	}
	return false
}

// drop drops the proofs that match, and returns how many these are.
func (c *counting) drop(match func(*pendingUse) bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range c.of {
		for _, p := range of.asked {
			if p.wanted() && match(p) {
				p.dropped = true
				n++
			}
		}
		of.waiting = slices.DeleteFunc(of.waiting, func(p *pendingUse) bool {
			if !p.wanted() || !match(p) {
				return false
			}
			n++
			return true
		})
	}
	return n
}

// next returns the commands that wait for a use of an operation, which are then asked for.
// None: the goroutine of the operation must end.
func (c *counting) next(k state.UseKey) (commands []command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of[k]
	if of.asked, of.waiting = of.waiting, nil; len(of.asked) == 0 {
		delete(c.of, k)
		return nil
	}
	for _, p := range of.asked {
		p.asked = true
		commands = append(commands, p.command)
	}
	return commands
}

// end returns the proofs and tunnels of the last next, in the same order, with those that
// were dropped since.
func (c *counting) end(k state.UseKey) []*pendingUse {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of[k]
	asked := of.asked
	of.asked = nil
	return asked
}

// close drops those that wait, and waits until etcd has answered for the others.
func (c *counting) close() {
	c.mu.Lock()
	c.closed = true
	for _, of := range c.of {
		for _, p := range of.waiting {
			if p.tunnel != nil {
				p.tunnel <- errOperationGone
			}
		}
		of.waiting = nil
	}
	c.mu.Unlock()
	c.all.Wait()
}
