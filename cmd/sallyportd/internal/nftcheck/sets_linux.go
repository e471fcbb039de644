package nftcheck

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// set is a set or a map. Its elements are read when a rule uses it.
type set struct {
	name
	flags    uint64
	keyLen   int
	fields   []int // the length of each part of a concatenation; empty: it is none
	read     bool
	fault    string // why its elements are not known
	elements []element
}

// element is one element of a set. In a set of intervals without concatenation,
// an element begins an interval, or ends one before its key. With concatenation,
// end is the last key of the interval.
type element struct {
	key, end       []byte
	ends, catchAll bool
	data           []byte   // of a map
	verdict        *verdict // of a map to verdicts
}

// Attributes that x/sys/unix does not name, as of nf_tables.h.
const (
	setDescConcat    = 2  // NFTA_SET_DESC_CONCAT
	setFieldLen      = 1  // NFTA_SET_FIELD_LEN
	setElementKeyEnd = 10 // NFTA_SET_ELEM_KEY_END
	setFlagConcat    = 0x80
	elementFlagEnd   = 1
	elementFlagCatch = 2
	fieldsMost       = 16
	registerWord     = 4
	dataValue        = 1 // NFTA_DATA_VALUE
	dataVerdict      = 2 // NFTA_DATA_VERDICT
	verdictCode      = 1 // NFTA_VERDICT_CODE
	verdictChain     = 2 // NFTA_VERDICT_CHAIN
)

func readSet(m []byte) *set {
	a := parse(m[headerLen:])
	s := &set{
		name:  name{family: m[0], table: a.text(unix.NFTA_SET_TABLE), name: a.text(unix.NFTA_SET_NAME)},
		flags: a.number(unix.NFTA_SET_FLAGS), keyLen: int(a.number(unix.NFTA_SET_KEY_LEN)),
	}
	desc := a.nested(unix.NFTA_SET_DESC)
	for _, f := range desc.nested(setDescConcat).list {
		if n := int(parse(f.data).number(setFieldLen)); n > 0 && n <= registerBytes && len(s.fields) < fieldsMost {
			s.fields = append(s.fields, n)
		}
	}
	if s.keyLen <= 0 || s.keyLen > registerBytes || !a.whole {
		s.read, s.fault = true, "its type is unknown"
	}
	return s
}

func (s *set) has(flag uint64) bool { return s.flags&flag != 0 }

// setOf returns the set of a name in the table of a chain, with its elements. It
// returns false if they are not known.
func (r *ruleset) setOf(beside *chain, to string) (s *set, ok bool) {
	s = r.sets[name{family: beside.family, table: beside.table, name: to}]
	if s == nil {
		r.cannotRead("set %q, which chain %q uses, does not exist", to, beside.name)
		return nil, false
	}
	if !s.read {
		s.read = true
		r.readElements(s)
	}
	if s.fault != "" {
		r.cannotRead("set %q of table \"%s %s\": %s", s.name.name, familyName(s.family), s.table, s.fault)
	}
	return s, s.fault == ""
}

func (r *ruleset) readElements(s *set) {
	request := appendText(nil, unix.NFTA_SET_ELEM_LIST_TABLE, s.table)
	request = appendText(request, unix.NFTA_SET_ELEM_LIST_SET, s.name.name)
	messages, err := r.from.dump(unix.NFT_MSG_GETSETELEM, s.family, request)
	if err != nil {
		s.fault = err.Error()
		return
	}
	for _, m := range messages {
		list := parse(m[headerLen:]).nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for _, x := range list.list {
			e, ok := readElement(s, parse(x.data))
			if !ok || len(s.elements) == maxElements {
				s.fault, s.elements = "some of its elements cannot be read, or it has too many", nil
				return
			}
			s.elements = append(s.elements, e)
		}
	}
	if s.intervals() {
		slices.SortStableFunc(s.elements, func(a, b element) int {
			if c := bytes.Compare(a.key, b.key); c != 0 || a.ends == b.ends {
				return c
			} else if a.ends {
				return -1
			}
			return 1
		})
	}
}

func readElement(s *set, a attributes) (e element, ok bool) {
	flags := a.number(unix.NFTA_SET_ELEM_FLAGS)
	e.ends, e.catchAll = flags&elementFlagEnd != 0, flags&elementFlagCatch != 0
	e.key, _ = a.nested(unix.NFTA_SET_ELEM_KEY).get(dataValue)
	e.end, _ = a.nested(setElementKeyEnd).get(dataValue)
	data := a.nested(unix.NFTA_SET_ELEM_DATA)
	e.data, _ = data.get(dataValue)
	if data.has(dataVerdict) {
		v := readVerdict(data.nested(dataVerdict))
		e.verdict = &v
	}
	ok = a.whole && data.whole && (e.catchAll || len(e.key) == s.keyLen) && (e.end == nil || len(e.end) == s.keyLen)
	return e, ok
}

// intervals reports whether the elements are beginnings and ends of intervals.
func (s *set) intervals() bool { return s.has(unix.NFT_SET_INTERVAL) && len(s.fields) == 0 }

// ranges returns the intervals of a set of ports, each with its first and its
// last port, without those inside of others.
func (s *set) ranges() (of []elementRange) {
	for i, e := range s.elements {
		switch {
		case e.catchAll || e.ends || len(e.key) < 2:
		case !s.intervals():
			p := int(binary.BigEndian.Uint16(e.key))
			of = append(of, elementRange{p, p, e})
		default:
			last := 1<<16 - 1
			if i+1 < len(s.elements) && len(s.elements[i+1].key) >= 2 {
				last = int(binary.BigEndian.Uint16(s.elements[i+1].key)) - 1
			}
			of = append(of, elementRange{int(binary.BigEndian.Uint16(e.key)), last, e})
		}
	}
	return of
}

type elementRange struct {
	low, high int
	element
}

// catchAll returns the element that matches all keys without another element.
func (s *set) catchAll() (e element, ok bool) {
	for _, e := range s.elements {
		if e.catchAll {
			return e, true
		}
	}
	return e, false
}

func appendText(b []byte, kind uint16, text string) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attributeHeader+len(text)+1))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(append(b, text...), 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
