package diag

import (
	"regexp"
	"strings"
)

// Errors and log lines may quote a value that an administrator has typed, and that is in no
// file any longer: a secret in a wrong place, corrected since. strict also leaves out such
// texts by their form.
var (
	// quoted is the value that an error quotes after "got", in an error, in the log and in
	// JSON within JSON.
	quoted = regexp.MustCompile(`\bgot (\\*")((?:[^"\\]|\\[^"\\])*)(\\*")`)
	// random matches words that may be random secrets; randomWord decides.
	random = regexp.MustCompile(`[A-Za-z0-9+_~-]{12,}={0,2}`)
)

func strict(text string) string {
	text = quoted.ReplaceAllString(text, "got ${1}"+leftOut+"${3}")
	return random.ReplaceAllStringFunc(text, func(word string) string {
		if randomWord(word) {
			return leftOut
		}
		return word
	})
}

// randomWord reports whether a word looks random: with small and capital letters and digits,
// or at least 16 letters and digits without a separator, both of them.
func randomWord(word string) bool {
	digits, lower, upper := strings.ContainsAny(word, "0123456789"), strings.ToUpper(word) != word, strings.ToLower(word) != word
	if digits && lower && upper {
		return true
	}
	for part := range strings.FieldsFuncSeq(word, func(c rune) bool { return strings.ContainsRune("+_=~-", c) }) {
		if len(part) >= 16 && strings.ContainsAny(part, "0123456789") && strings.ToUpper(part) != strings.ToLower(part) {
			return true
		}
	}
	return false
}
