package roster

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// TestInterleavings: two editors, of which one works between any two requests of the other
// one, and a gateway. The list is that of the operations one after the other; the gateway
// ends with it, and never had a list that no editor wrote.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	e := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, e)
	one, two, three := w.open(t, ""), w.open(t, ""), w.open(t, "")
	rapid.Check(t, func(rt *rapid.T) {
		if _, err := e.Root().Delete(t.Context(), w.prefix, clientv3.WithPrefix()); err != nil {
			rt.Fatal(err)
		}
		m := &modelled{t: rt, ctx: t.Context(), written: map[string]bool{}}
		a, b := newRoster(one.cfg, &floor{}), newRoster(two.cfg, &floor{})
		m.replace(a)
		g := &gateway{Roster: newRoster(three.cfg, &floor{}), list: lists{}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			g.Follow(ctx, func(mark Mark, all bool, changes []Change) error {
				g.take(mark, all, changes)
				m.mu.Lock()
				defer m.mu.Unlock()
				m.applied = append(m.applied, g.has())
				return nil
			}, nil)
		})
		for range rapid.IntRange(1, 2).Draw(rt, "operations") {
			at, steps := rapid.IntRange(1, 6).Draw(rt, "the other one works before step"), 0
			before, last := m.version(a), lists(nil)
			a.step = func() {
				if steps++; steps == at {
					switched := m.version(b) != before
					if m.any(b); switched { // what a does now only removes the old generation
						last = m.list
					}
				}
			}
			m.any(a)
			if last != nil {
				m.list = last
			}
			a.step = func() {}
		}
		wait(t, "the end", func() bool { return maps.Equal(g.has(), m.list) && g.Stats().Refusal == nil })
		if got, err := a.load(t.Context()); err != nil || !maps.Equal(got, m.list) {
			rt.Errorf("etcd has %v, %v; want %v", got, err, m.list)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, l := range m.applied {
			if !m.written[l.String()] {
				rt.Errorf("the gateway had %v, which no editor wrote", l)
			}
		}
	})
}

// modelled is the list that the operations make one after the other.
type modelled struct {
	t       *rapid.T
	ctx     context.Context
	list    lists
	mu      sync.Mutex // of the rest
	written map[string]bool
	applied []lists
}

var universe = []string{"a", "b", "c", "d"}

func ident(s string) wire.Identifier { return id("com" + s) }

func (m *modelled) writes(l lists) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.written[l.String()] = true
}

func (m *modelled) any(r *Roster) {
	if rapid.IntRange(0, 2).Draw(m.t, "kind") == 0 {
		m.replace(r)
	} else {
		m.edit(r)
	}
}

func (m *modelled) version(r *Roster) uint64 {
	s, err := r.readManifest(m.ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	return s.version()
}

func (m *modelled) draw() lists {
	l := lists{}
	for _, k := range universe {
		if line := rapid.SampledFrom([]string{"", "1", "2"}).Draw(m.t, k); line != "" {
			l["com"+k] = line
		}
	}
	return l
}

func (m *modelled) replace(r *Roster) {
	next := m.draw()
	m.writes(next)
	switch err := r.Replace(m.ctx, next.entries); {
	case err == nil:
		m.list = next
	case !errors.Is(err, ErrReplacing):
		m.t.Fatal(err)
	}
}

// edit adds a digit to some clients, adds others, and removes a third kind.
func (m *modelled) edit(r *Roster) {
	var ids []wire.Identifier
	how := map[wire.Identifier]int{}
	for _, k := range universe {
		ids = append(ids, ident(k))
		how[ident(k)] = rapid.IntRange(0, 2).Draw(m.t, "change of "+k)
	}
	var next lists
	err := r.Edit(m.ctx, ids, func(now map[wire.Identifier][]byte) (changes []Change, err error) {
		next = lists{}
		for _, x := range ids {
			line := now[x]
			switch how[x] {
			case 1:
				line = append(line[:len(line):len(line)], '+')
				changes = append(changes, Change{x, line})
			case 2:
				line = nil
				changes = append(changes, Change{ID: x})
			}
			if line != nil {
				next[x.String()] = string(line)
			}
		}
		m.writes(next)
		return changes, nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.list = next
}
