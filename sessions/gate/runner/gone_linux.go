package runner

import "sallyport/sessions/gate/program"

// never is the channel of programs that no runner has.
var never = make(chan struct{})

// Gone implements program.Starter.
func (r *Runners) Gone(id program.ID) <-chan struct{} {
	if c := r.of(id); c != nil {
		return c.Lost()
	}
	return never
}
