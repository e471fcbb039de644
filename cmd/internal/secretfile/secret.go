package secretfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// oneLine returns the secret of a text.
func oneLine(text string) (string, error) {
	s := text
	for {
		shorter, ok := strings.CutSuffix(s, "\n")
		if !ok {
			break
		}
		s = strings.TrimSuffix(shorter, "\r")
	}
	switch {
	case s == "" && text == "":
		return "", errors.New("expected a secret, but the file is empty")
	case strings.TrimSpace(s) == "":
		return "", errors.New("expected a secret, but the file has only blanks")
	case !utf8.ValidString(s):
		return "", errors.New("expected UTF-8 text, got other bytes")
	case strings.Contains(s, "\n"):
		return "", errors.New("expected one secret on a single line, got several lines")
	}
	if fault := Fault(s); fault != "" {
		return "", errors.New("expected a secret without blanks around it, got " + fault)
	}
	return s, nil
}

// Fault describes the first character that does not belong in a secret, and its
// place, without the secret; empty: there is none. A person does not see such a
// character, and another copy of the secret probably lacks it. One space between
// two words of a passphrase is not a fault.
func Fault(secret string) string {
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
