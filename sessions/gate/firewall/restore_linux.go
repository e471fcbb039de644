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

// restore is Restore. The caller holds the lock. What it could not grant again it
// tries again the next time.
func (t *Table) restore() (restored bool, err error) {
	there, err := Present()
	if err != nil || there && !t.incomplete {
		return false, err
	}
	if !there {
		t.incomplete, t.ends = true, map[element]time.Time{}
		anew, err := Claim(t.cfg, t.clock)
		if err != nil {
			return false, err
		}
		t.sets, t.renews = anew.sets, anew.renews
	}
	now := t.clock.Monotonic()
	for some := range slices.Chunk(slices.Collect(maps.Keys(t.open)), MaxChanges) {
		o := outcome{}
		for _, e := range some {
			if left := t.open[e].Sub(now) - slack; left > 0 {
				o[e] = left
			}
		}
		if len(o) == 0 {
			continue
		}
		err := t.apply(o)
		t.remember(o, err == nil)
		if err != nil {
			return true, fmt.Errorf("grant again what was granted: %w", err)
		}
	}
	t.incomplete = false
	return true, nil
}
