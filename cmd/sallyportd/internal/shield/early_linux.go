package shield

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

// earlyClients is for how many clients an early program has room: the server has not
// asked yet. It costs 32 MiB.
const earlyClients = 1 << 20

// LoadEarly loads the program in a process that is about to drop the privilege to load
// it, by execve, and returns all of its descriptors, which stay open in this process.
func LoadEarly() (map[string]int, error) {
	p, err := xdp.Load(xdp.Sizes{Clients: earlyClients})
	if err != nil {
		return nil, err
	}
	loadedEarly.Store(p)
	return p.Descriptors(), nil
}

// loadedEarly keeps the garbage collector from closing the descriptors before execve.
var loadedEarly atomic.Pointer[xdp.Program]

// Early is a program that LoadEarly has loaded. It serves one server after another.
type Early struct {
	program *xdp.Program
	used    atomic.Bool // by a Shield that is not closed
}

// TakeEarly takes over the descriptors of LoadEarly.
func TakeEarly(descriptors map[string]int) (*Early, error) {
	p, err := xdp.FromDescriptors(descriptors)
	if err != nil {
		return nil, err
	}
	return &Early{program: p}, nil
}

// Load is Load with the program that exists already. Attach clears its arrays, so Load
// fails while a Shield has them: the server reads its rings there.
func (e *Early) Load(p holder.ShieldPolicy, r holder.ShieldRequest, log *slog.Logger) (holder.Shield, error) {
	if !e.used.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("the holder had the privilege to load it only when it started: that shield has room for %d clients", earlyClients)
	}
	s := newShield(p, r, kept{e.program, e}, attachTo(e.program), log)
	s.before = e.program.Reset
	return s, nil
}

// kept is a program that outlives a Shield.
type kept struct {
	*xdp.Program
	early *Early
}

// Close makes the program pass every frame, wherever it may still run.
func (k kept) Close() error {
	defer k.early.used.Store(false)
	return k.SetAddresses(nil)
}
