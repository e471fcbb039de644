package carrier

import "strconv"

// The form of a path: numbers between slashes, as names of pages.
const (
	suffix     = ".html"
	maxNumbers = MaxMessage / unit

	// MaxPath is the number of bytes of the longest path.
	MaxPath = len("/72057594037927935") + maxNumbers*len("/18446744073709551615") + len(suffix)
)

// Numbers returns the number of numbers in which the message fits.
func (m *Message) Numbers() int { return m.units() }

// AppendPath appends a path with the numbers from to to-1 of a complete message: all
// of them are 0 to Numbers().
func (m *Message) AppendPath(dst []byte, from, to int) []byte {
	dst = strconv.AppendUint(append(dst, '/'), uint64(m.Exchange), 10)
	for i := from; i < to; i++ {
		n := uint64(m.Kind)<<62 | uint64(i)<<56 | uint64(m.length)<<48
		for j, c := range m.data[i*unit : (i+1)*unit] {
			n |= uint64(c) << (8 * (unit - 1 - j))
		}
		dst = strconv.AppendUint(append(dst, '/'), n, 10)
	}
	return append(dst, suffix...)
}

// ParsePath parses the path of a request, as it was sent. If it is Accepted, m is the
// part that the path carries.
func (m *Message) ParsePath(path string) Reason {
	if len(path) > MaxPath || len(path) < len(suffix) || path[len(path)-len(suffix):] != suffix {
		return Form
	}
	x, rest, ok := cutNumber(path[:len(path)-len(suffix)])
	if !ok || Exchange(x) > MaxExchange || rest == "" {
		return Form
	}
	var numbers [maxNumbers]uint64
	count := 0
	for ; rest != ""; count++ {
		if count == maxNumbers {
			return Form
		}
		if numbers[count], rest, ok = cutNumber(rest); !ok {
			return Form
		}
	}
	var parts [maxNumbers]part
	for i, n := range numbers[:count] {
		p, reason := parsePart(byte(n>>56), byte(n>>48))
		if reason != Accepted {
			return reason
		}
		parts[i] = p
	}
	first := parts[0]
	for i, p := range parts[1:count] {
		if p.kind != first.kind || p.length != first.length || p.offset <= parts[i].offset {
			return Order
		}
	}
	last := parts[count-1]
	if used := last.length - last.offset*unit; used < unit && numbers[count-1]<<(16+8*used) != 0 {
		return Padding
	}
	m.begin(first, Exchange(x))
	for i, p := range parts[:count] {
		var data [unit]byte
		for j := range data {
			data[j] = byte(numbers[i] >> (8 * (unit - 1 - j)))
		}
		m.put(p, data[:])
	}
	return Accepted
}

// cutNumber cuts a slash and a number from the front of a path. The number has no
// leading zero, and fits in 64 bits.
func cutNumber(path string) (n uint64, rest string, ok bool) {
	if path == "" || path[0] != '/' {
		return 0, "", false
	}
	path = path[1:]
	digits := 0
	for ; digits < len(path) && path[digits] != '/'; digits++ {
		c := path[digits] - '0'
		if c > 9 || n > (1<<64-1)/10 || n*10 > 1<<64-1-uint64(c) {
			return 0, "", false
		}
		n = n*10 + uint64(c)
	}
	if digits == 0 || path[0] == '0' && digits > 1 {
		return 0, "", false
	}
	return n, path[digits:], true
}
