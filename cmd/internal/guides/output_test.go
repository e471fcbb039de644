package guides

import (
	"regexp"
	"strings"
)

// Tokens of shown output that match others of their kind.
var (
	token = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| ?[+-]\d\d:?\d\d)?` + // a time
		`|\b(?:[0-9a-f]{2}){8,}\b` + // hexadecimal
		`|(?:\d+(?:\.\d+)?(?:h|ms|m|s|µs)\b)+|(?:\d+(?:\.\d+)?(?:h|ms|m|s|µs))+` + // a duration
		`|\d+(?:\.\d+)*` + // a number, an address
		`| +|…`)
	timePattern     = `\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| ?[+-]\d\d:?\d\d)?`
	hexPattern      = `[0-9a-f]{16,}`
	durationPattern = `(?:\d+(?:\.\d+)?(?:h|ms|m|s|µs))+`
	numberPattern   = `\d+(?:\.\d+)*`
	isTime          = regexp.MustCompile(`^` + timePattern + `$`)
	isDuration      = regexp.MustCompile(`^` + durationPattern + `$`)
	isNumber        = regexp.MustCompile(`^` + numberPattern + `$`)
)

// identifiers are the ones that guides show, and those that stand in their
// place here.
type identifiers map[string]string

var word = regexp.MustCompile(`\b[0-9A-Za-z]{4}\b`)

// replace puts the identifiers of this run in the place of those shown.
func (ids identifiers) replace(text string) string {
	for shown, real := range ids {
		text = regexp.MustCompile(`\b`+shown+`\b`).ReplaceAllLiteralString(text, real)
	}
	return text
}

// match reports whether output is what a guide shows, and learns identifiers.
func (ids identifiers) match(shown []string, output string) bool {
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	var learned []string
	for _, line := range shown {
		if line == "…" {
			pattern.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		names := map[string]bool{}
		for _, w := range word.FindAllString(line, -1) {
			if ids[w] == "" && looksRandom(w) {
				names[w] = true
			}
		}
		// An identifier stands alone between words: split the line there.
		for rest := ids.replace(line); ; {
			at, name := -1, ""
			for n := range names {
				loc := regexp.MustCompile(`\b` + n + `\b`).FindStringIndex(rest)
				if loc != nil && (at < 0 || loc[0] < at) {
					at, name = loc[0], n
				}
			}
			if at < 0 {
				pattern.WriteString(tolerant(rest))
				break
			}
			pattern.WriteString(tolerant(rest[:at]) + `([0-9A-Za-z]{4})`)
			learned = append(learned, name)
			rest = rest[at+len(name):]
		}
		pattern.WriteString(` *\n`)
	}
	pattern.WriteString(`\z`)
	if output != "" && !strings.HasSuffix(output, "\n") {
		output += "\n"
	}
	found := regexp.MustCompile(pattern.String()).FindStringSubmatch(output)
	if found == nil {
		return false
	}
	for i, name := range learned {
		ids[name] = found[i+1]
	}
	return true
}

// looksRandom reports whether a word of four characters looks like an
// identifier that the server drew: it has a small letter, and a digit or a
// capital inside.
func looksRandom(word string) bool {
	return word != strings.ToUpper(word) && (strings.ContainsAny(word, "0123456789") || word[1:] != strings.ToLower(word[1:])) &&
		!isDuration.MatchString(word)
}

// tolerant is a pattern for a piece of shown output.
func tolerant(text string) string {
	var b strings.Builder
	for {
		loc := token.FindStringIndex(text)
		if loc == nil {
			b.WriteString(regexp.QuoteMeta(text))
			return b.String()
		}
		b.WriteString(regexp.QuoteMeta(text[:loc[0]]))
		switch t := text[loc[0]:loc[1]]; {
		case t[0] == ' ':
			b.WriteString(" +")
		case t == "…":
			b.WriteString(`[^\n]*`)
		case isTime.MatchString(t):
			b.WriteString(timePattern)
		case isNumber.MatchString(t):
			b.WriteString(numberPattern)
		case isDuration.MatchString(t):
			b.WriteString(durationPattern)
		default:
			b.WriteString(hexPattern)
		}
		text = text[loc[1]:]
	}
}
