// Package nearest finds the word that a mistyped one was meant to be.
package nearest

import "strings"

// Word returns the word of a list that is nearest to a mistyped one, at most limit
// edits away; empty: there is none. Upper and lower case, hyphens and underscores
// do not count.
func Word(typed string, list []string, limit int) string {
	best, bestDistance := "", limit+1
	from := plain(typed)
	for _, word := range list {
		to := plain(word)
		d := distance(from, to)
		if d < bestDistance && d < min(len(from), len(to)) {
			best, bestDistance = word, d
		}
	}
	return best
}

func plain(word string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(word))
}

// distance returns the number of edits between two words: a byte inserted, removed
// or replaced, or two neighbours exchanged.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(last[j]+1, row[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
