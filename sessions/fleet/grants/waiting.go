package grants

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"sallyport/verify/wire"
)

// waiting are the values whose nonces this gateway has not seen in the record: etcd is asked
// for them, while revocations are carried out.
type waiting struct {
	values  map[grantKey]waitingValue
	clients map[wire.Identifier]int // how many values of each wait
	next    uint64
	wake    chan struct{}
}

type waitingValue struct {
	raw   []byte
	order uint64 // of its arrival; never used again
}

func newWaiting() waiting {
	return waiting{values: map[grantKey]waitingValue{}, clients: map[wire.Identifier]int{}, wake: make(chan struct{}, 1)}
}

// set adds the value of a key, or replaces it.
func (w *waiting) set(k grantKey, raw []byte) {
	w.remove(k)
	w.values[k] = waitingValue{slices.Clone(raw), w.next}
	w.next++
	w.clients[k.client]++
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *waiting) remove(k grantKey) {
	if _, waits := w.values[k]; !waits {
		return
	}
	delete(w.values, k)
	if w.clients[k.client]--; w.clients[k.client] == 0 {
		delete(w.clients, k.client)
	}
}

// keys returns the keys in the order in which their values have arrived.
func (w *waiting) keys() []grantKey {
	return slices.SortedFunc(maps.Keys(w.values), func(a, b grantKey) int {
		return cmp.Compare(w.values[a].order, w.values[b].order)
	})
}

// askAll asks etcd for the values that wait, until ctx ends.
func (g *Grants) askAll(ctx context.Context) {
	pause := time.NewTicker(retryPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		case <-g.waiting.wake:
		}
		g.work.Lock()
		keys := g.waiting.keys()
		g.work.Unlock()
		for _, k := range keys {
			if !g.ask(ctx, k) {
				break
			}
		}
	}
}

// ask carries out the value of a key that waits. Meanwhile the key may be deleted, or
// written again: then the answer is of no use. It returns false if etcd does not answer.
func (g *Grants) ask(ctx context.Context, k grantKey) (answered bool) {
	g.work.Lock()
	v, waits := g.waiting.values[k]
	g.work.Unlock()
	if !waits {
		return true
	}
	x, plausible := g.examine(k, v.raw)
	recorded := false
	if plausible {
		var err error
		a := x.attempt
		if recorded, err = g.cfg.Record.Recorded(ctx, k.client, a.Secret(), a.Base(), a.Count()); err != nil {
			return false
		}
	}
	g.work.Lock()
	defer g.work.Unlock()
	if now, waits := g.waiting.values[k]; !waits || now.order != v.order {
		return true
	}
	g.waiting.remove(k)
	switch {
	case !plausible: // is counted
	case !recorded:
		g.count(Unrecorded)
	default:
		if a, opens := g.accept(x); opens {
			g.open([]accepted{a})
		}
	}
	return true
}
