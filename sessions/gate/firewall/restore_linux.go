package firewall

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Restore makes the table anew if somebody has removed it, as "nft flush
// ruleset" does, with what was granted and takes knocks. It reports whether it
// had to. Until then the ports were open.
func (t *Table) Restore() (restored bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.restore()
}

// restore is Restore. The caller holds the lock.
func (t *Table) restore() (restored bool, err error) {
	if there, err := Present(); err != nil || there {
		return false, err
	}
	anew, err := Claim(t.cfg, t.clock)
	if err != nil {
		return false, err
	}
	before := t.ends
	t.sets, t.renews, t.ends = anew.sets, anew.renews, map[element]time.Time{}
	now := t.clock.Monotonic()
	for some := range slices.Chunk(slices.Collect(maps.Keys(before)), MaxChanges) {
		o := outcome{}
		for _, e := range some {
			if left := before[e].Sub(now) - slack; left > 0 {
				o[e] = left
			}
		}
		if len(o) == 0 {
			continue
		}
		if err := t.apply(o); err != nil {
			return true, fmt.Errorf("grant again what was granted: %w", err)
		}
		t.remember(o, true)
	}
	return true, nil
}
