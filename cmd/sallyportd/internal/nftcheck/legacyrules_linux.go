package nftcheck

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// legacyEntry is an entry at its offset.
type legacyEntry struct {
	at           int
	header, rest []byte // rest: matches and target
	targetAt     int    // in rest
}

// addLegacy adds the chains of one table.
func (r *ruleset) addLegacy(l legacyLayout, table string, info, raw []byte) error {
	priority, known := legacyPriorities[table]
	if !known {
		return nil // it can neither drop nor redirect
	}
	entries, err := l.split(raw)
	if err != nil {
		return err
	}
	begin := map[int]*chain{} // by the offset of their first entries
	word := func(at int) int { return int(nativeUint32(info[legacyTableName+4*at:])) }
	for hook, called := range legacyHookNames {
		if word(0)>>hook&1 == 0 {
			continue
		}
		c := &chain{name: name{l.family, table, called, true}, base: true, kind: "filter", hook: uint32(hook), priority: priority}
		if table == "nat" {
			c.kind = "nat"
		}
		begin[word(1+hook)] = c
	}
	for i, e := range entries {
		if e.targetName() == "ERROR" && i+1 < len(entries) {
			label, _, _ := bytes.Cut(e.rest[e.targetAt+legacyPartHeader:], []byte{0})
			begin[entries[i+1].at] = &chain{name: name{l.family, table, string(label), true}}
		}
	}
	var c *chain
	for i, e := range entries {
		if next := begin[e.at]; next != nil {
			c = next
			r.chains = append(r.chains, c)
			r.byName[c.name] = c
		}
		if e.targetName() == "ERROR" || c == nil {
			continue
		}
		policy := e.at == word(1+legacyHooks+int(c.hook))
		if c.base && policy {
			c.drops = e.verdict() == -verdictDrop-1
			continue
		}
		next := len(raw)
		if i+1 < len(entries) {
			next = entries[i+1].at
		}
		c.rules = append(c.rules, l.rule(e, begin, next, uint64(len(c.rules)+1)))
		r.marks |= c.rules[len(c.rules)-1].marks()
	}
	return nil
}

// split divides a table into its entries.
func (l legacyLayout) split(raw []byte) (entries []legacyEntry, err error) {
	for at := 0; at < len(raw); {
		b := raw[at:]
		if len(b) < l.entryAt {
			return nil, fmt.Errorf("the entry at %d is truncated", at)
		}
		target, next := int(binary.NativeEndian.Uint16(b[l.targetAt:])), int(binary.NativeEndian.Uint16(b[l.nextAt:]))
		if target < l.entryAt || next < target+legacyPartHeader+4 || next > len(b) {
			return nil, fmt.Errorf("the entry at %d is malformed", at)
		}
		entries = append(entries, legacyEntry{at, b[:l.entryAt], b[l.entryAt:next], target - l.entryAt})
		at += next
	}
	return entries, nil
}

func (e legacyEntry) targetName() string { return partName(e.rest[e.targetAt:]) }

func partName(part []byte) string {
	called, _, _ := bytes.Cut(part[2:legacyPartHeader-1], []byte{0})
	return string(called)
}

// verdict is that of a standard target.
func (e legacyEntry) verdict() int32 {
	return int32(nativeUint32(e.rest[e.targetAt+legacyPartHeader:]))
}

// rule translates an entry. Next is the offset of the entry after it.
func (l legacyLayout) rule(e legacyEntry, begin map[int]*chain, next int, number uint64) rule {
	r := rule{handle: number, expressions: []expression{{"legacy", made(attribute{legacyHeader, e.header}, attribute{legacyFamily, []byte{l.family}})}}}
	for matches := e.rest[:e.targetAt]; len(matches) > 0; {
		size := 0
		if len(matches) >= legacyPartHeader {
			size = int(binary.NativeEndian.Uint16(matches))
		}
		if size < legacyPartHeader || size > len(matches) {
			r.broken = true
			return r
		}
		r.expressions = append(r.expressions, expression{"match", made(attribute{unix.NFTA_MATCH_NAME, []byte(partName(matches))},
			attribute{unix.NFTA_MATCH_REV, []byte{matches[legacyPartHeader-1]}}, attribute{unix.NFTA_MATCH_INFO, matches[legacyPartHeader:size]})})
		matches = matches[size:]
	}
	target := e.rest[e.targetAt:]
	if called := partName(target); called != "" {
		r.expressions = append(r.expressions, expression{"target", made(attribute{unix.NFTA_TARGET_NAME, []byte(called)},
			attribute{unix.NFTA_TARGET_REV, []byte{target[legacyPartHeader-1]}}, attribute{unix.NFTA_TARGET_INFO, target[legacyPartHeader:]})})
		return r
	}
	v := verdict{}
	switch n := e.verdict(); {
	case n == legacyReturn:
		v.code = verdictReturn
	case n < 0:
		v.code = -n - 1
	case int(n) == next:
		return r // it has no target
	default:
		to := begin[int(n)]
		if to == nil {
			r.broken = true
			return r
		}
		if v.code, v.chain = verdictJump, to.name.name; e.header[l.flagsAt]&legacyGoto != 0 {
			v.code = verdictGoto
		}
	}
	r.expressions = append(r.expressions, expression{"verdict", made(attribute{verdictCode, binary.BigEndian.AppendUint32(nil, uint32(v.code))}, attribute{verdictChain, []byte(v.chain)})})
	return r
}
