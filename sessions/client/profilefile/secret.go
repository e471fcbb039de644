package profilefile

import (
	"fmt"
	"unicode"
)

// SecretFault describes the first character that does not belong in a secret, and its
// place, without the secret; empty: there is none. A person does not see such a
// character, and another copy of the secret probably lacks it. One space between
// two words of a passphrase is not a fault.
func SecretFault(secret string) string {
	runes := []rune(secret)
	for i, r := range runes {
		if r == ' ' && i > 0 && i < len(runes)-1 && runes[i-1] != ' ' && runes[i+1] != ' ' {
			continue
		}
		if name := nameOf(r); name != "" {
			switch i {
			case 0:
				return name + " at its beginning"
			case len(runes) - 1:
				return name + " at its end"
			}
			return fmt.Sprintf("%s at character %d of %d", name, i+1, len(runes))
		}
	}
	return ""
}

// nameOf names a character that is not visible; empty: it is visible.
func nameOf(r rune) string {
	switch {
	case r == ' ':
		return "a space"
	case r == '\t':
		return "a tab"
	case r == '\r' || r == '\n':
		return "a line end"
	case r == '\u00a0':
		return "a no-break space (U+00A0)"
	case r == '\ufeff':
		return "a byte order mark (U+FEFF)"
	case unicode.IsSpace(r) || unicode.Is(unicode.Z, r):
		return fmt.Sprintf("a blank (%U)", r)
	case !unicode.IsPrint(r):
		return fmt.Sprintf("an invisible character (%U)", r)
	}
	return ""
}
