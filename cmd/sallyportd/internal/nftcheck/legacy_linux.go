package nftcheck

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Layouts of iptables-legacy: struct ipt_entry and struct ip6t_entry.
type legacyLayout struct {
	family                    byte
	names                     string // the list of tables
	domain, level             int
	addressLen                int
	interfaceAt, maskAt       int
	protocolAt, flagsAt       int
	targetAt, nextAt, entryAt int
}

var legacyLayouts = []legacyLayout{
	{unix.NFPROTO_IPV4, "/proc/thread-self/net/ip_tables_names", unix.AF_INET, unix.SOL_IP, 4, 16, 48, 80, 82, 88, 90, 112},
	{unix.NFPROTO_IPV6, "/proc/thread-self/net/ip6_tables_names", unix.AF_INET6, unix.SOL_IPV6, 16, 64, 96, 128, 131, 140, 142, 168},
}

// Layouts that both families share.
const (
	legacyInfo, legacyEntries   = 64, 65 // options: *_SO_GET_INFO, *_SO_GET_ENTRIES
	legacyInfoLen               = 84     // struct ipt_getinfo
	legacyTableName             = 32
	legacyEntriesAt             = 40 // of struct ipt_get_entries
	legacyPartHeader            = 32 // struct xt_entry_match and xt_entry_target
	legacyHooks                 = 5
	legacyReturn                = -5 // XT_RETURN
	legacyGoto                  = 2  // IPT_F_GOTO
	legacySizeMost, legacyTries = 64 << 20, 3
)

// legacyPriorities are the tables that may drop or redirect packets, with the
// priority of their chains.
var legacyPriorities = map[string]int32{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}

var legacyHookNames = [legacyHooks]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// readLegacy adds the chains of iptables-legacy. A table that cannot be read is
// one of the parts that may do anything.
func (r *ruleset) readLegacy() {
	for _, l := range legacyLayouts {
		names, err := os.ReadFile(l.names)
		if err != nil {
			continue // the kernel has no iptables-legacy, or it was never used
		}
		for table := range strings.FieldsSeq(string(names)) {
			info, entries, err := l.dump(table)
			if err == nil {
				err = r.addLegacy(l, table, info, entries)
			}
			if err != nil {
				r.cannotRead("the table %s %s of iptables-legacy: %v", familyName(l.family), table, err)
			}
		}
	}
}

// dump reads a table's description and entries.
func (l legacyLayout) dump(table string) (info, entries []byte, err error) {
	fd, err := unix.Socket(l.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for try := 1; ; try++ {
		info = make([]byte, legacyInfoLen)
		copy(info[:legacyTableName-1], table)
		if err := getOption(fd, l.level, legacyInfo, info); err != nil {
			return nil, nil, os.NewSyscallError("getsockopt", err)
		}
		size := nativeUint32(info[legacyInfoLen-4:])
		if size > legacySizeMost {
			return nil, nil, fmt.Errorf("it has %d bytes, which is too large", size)
		}
		all := make([]byte, legacyEntriesAt+int(size))
		copy(all[:legacyTableName-1], table)
		binary.NativeEndian.PutUint32(all[legacyTableName:], size)
		err := getOption(fd, l.level, legacyEntries, all)
		if err == nil {
			return info, all[legacyEntriesAt:], nil
		}
		if err != unix.EAGAIN || try == legacyTries { // the table has changed
			return nil, nil, os.NewSyscallError("getsockopt", err)
		}
	}
}

func getOption(fd, level, option int, b []byte) error {
	n := uint32(len(b))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

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
		r.marks = r.marks || c.rules[len(c.rules)-1].marks()
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

// Attributes of the expression "legacy".
const (
	legacyHeader = 1
	legacyFamily = 2
)

func made(list ...attribute) attributes { return attributes{list: list, whole: true} }

// matchHeader reads the addresses, interfaces and the protocol of an entry.
func (s *state) matchHeader(a attributes) {
	header, _ := a.get(legacyHeader)
	l := legacyLayouts[0]
	if byte(a.number(legacyFamily)) == unix.NFPROTO_IPV6 {
		l = legacyLayouts[1]
	}
	const invertsIn, invertsOut, invertsSource, invertsDestination, invertsFragment, invertsProtocol = 1, 2, 8, 16, 32, 64
	inverts := func(bit byte) bool { return header[l.flagsAt+1]&bit != 0 }
	field := func(i int) []byte { return header[i*l.addressLen:][:l.addressLen] }
	source, destination, sourceMask, destinationMask := field(0), field(1), field(2), field(3)
	op := map[bool]string{false: " ", true: " != "}
	if slices.Max(sourceMask) > 0 || inverts(invertsSource) {
		s.text = append(s.text, familyName(l.family)+" saddr"+op[inverts(invertsSource)]+prefixText(source, sourceMask))
		s.worse(map[bool]match{false: rarely, true: mostly}[inverts(invertsSource)])
	}
	if slices.Max(destinationMask) > 0 || inverts(invertsDestination) {
		s.text = append(s.text, familyName(l.family)+" daddr"+op[inverts(invertsDestination)]+prefixText(destination, destinationMask))
		if !s.to.address.IsValid() {
			s.worse(maybe)
		} else if sameMasked(s.to.address.AsSlice(), destination, destinationMask) == inverts(invertsDestination) {
			s.worse(never)
		}
	}
	nameMask := header[l.maskAt:][:16]
	if slices.Max(nameMask) > 0 || inverts(invertsIn) {
		want := header[l.interfaceAt:][:16]
		s.text = append(s.text, "iifname"+op[inverts(invertsIn)]+nameText(want))
		switch {
		case s.to.in.name == "":
			code := uint64(unix.NFT_CMP_EQ)
			if inverts(invertsIn) {
				code = unix.NFT_CMP_NEQ
			}
			s.compareInterface(code, want)
		case sameMasked(paddedName(s.to.in.name), want, nameMask) == inverts(invertsIn):
			s.worse(never)
		}
	}
	if slices.Max(header[l.maskAt+16:][:16]) > 0 || inverts(invertsOut) {
		s.text = append(s.text, "oifname"+op[inverts(invertsOut)]+nameText(header[l.interfaceAt+16:][:16]))
		s.worse(maybe)
	}
	const fragments = 1
	if l.family == unix.NFPROTO_IPV4 && header[l.flagsAt]&fragments != 0 && !inverts(invertsFragment) {
		s.worse(never) // the first fragment is no later one
	}
	if protocol := binary.NativeEndian.Uint16(header[l.protocolAt:]); protocol != 0 {
		s.text = append(s.text, strings.TrimSpace(op[inverts(invertsProtocol)]+protocolText([]byte{byte(protocol)})))
		if (byte(protocol) == s.to.protocol) == inverts(invertsProtocol) {
			s.worse(never)
		}
	}
}

func sameMasked(a, b, by []byte) bool {
	for i := range min(len(a), len(b), len(by)) {
		if (a[i]^b[i])&by[i] != 0 {
			return false
		}
	}
	return len(a) == len(b)
}

func prefixText(address, by []byte) string {
	a, _ := netip.AddrFromSlice(address)
	n := 0
	for _, b := range by {
		for ; b != 0; b <<= 1 {
			n++
		}
	}
	if n == a.BitLen() {
		return a.String()
	}
	return fmt.Sprintf("%s/%d", a, n)
}
