package carrier

// alphabet is the letters of a base of 2^bits, without padding.
type alphabet struct {
	letters string
	bits    int
	values  [256]byte // the value of each letter, or notALetter
}

const notALetter = 0xff

// base32 is that of RFC 4648 in lower case, and reads either case: DNS keeps none.
// base64 has the letters of URLs.
var (
	base32 = newAlphabet("abcdefghijklmnopqrstuvwxyz234567", 5)
	base64 = newAlphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 6)
)

func newAlphabet(letters string, bits int) *alphabet {
	a := &alphabet{letters: letters, bits: bits}
	for i := range a.values {
		a.values[i] = notALetter
	}
	for i := range letters {
		a.values[letters[i]] = byte(i)
		if bits == 5 && letters[i] >= 'a' {
			a.values[letters[i]-'a'+'A'] = byte(i)
		}
	}
	return a
}

// append appends the text of b.
func (a *alphabet) append(dst, b []byte) []byte {
	held, n := uint(0), 0
	for _, c := range b {
		held, n = held<<8|uint(c), n+8
		for ; n >= a.bits; n -= a.bits {
			dst = append(dst, a.letters[held>>(n-a.bits)&(1<<a.bits-1)])
		}
	}
	if n > 0 {
		dst = append(dst, a.letters[held<<(a.bits-n)&(1<<a.bits-1)])
	}
	return dst
}

// parse appends the bytes of a text. Each byte string has one text, except for the
// case of letters.
func (a *alphabet) parse(dst, text []byte) ([]byte, Reason) {
	if len(text)*a.bits%8 >= a.bits {
		return dst, Form
	}
	held, n := uint(0), 0
	for _, c := range text {
		v := a.values[c]
		if v == notALetter {
			return dst, Form
		}
		held, n = held<<a.bits|uint(v), n+a.bits
		if n >= 8 {
			n -= 8
			dst = append(dst, byte(held>>n))
		}
	}
	if held&(1<<n-1) != 0 {
		return dst, Padding
	}
	return dst, Accepted
}

// append appends the number of an exchange.
func (x Exchange) append(dst []byte) []byte {
	for shift := 8 * (exchangeSize - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(x>>shift))
	}
	return dst
}

// exchangeOf parses the number of an exchange.
func exchangeOf(b []byte) (x Exchange) {
	for _, c := range b[:exchangeSize] {
		x = x<<8 | Exchange(c)
	}
	return x
}
