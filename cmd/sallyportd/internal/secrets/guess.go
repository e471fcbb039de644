package secrets

import (
	"math"
	"strings"
	"sync"

	"github.com/trustelem/zxcvbn/frequency"
)

const (
	// maxGuessed bounds how much of a secret is examined: the time grows with the
	// square of the length, and a strong beginning is enough.
	maxGuessed = 100
	// minWord is the length of the shortest words: shorter ones are part of any
	// random text.
	minWord = 3
)

// ranks returns the known passwords, words and names, each with its place in its list:
// the first are the most frequent. They are built at the first use, because most
// commands need none.
var ranks = sync.OnceValue(func() map[string]int {
	all := map[string]int{}
	for _, list := range frequency.FrequencyLists {
		for i, word := range list {
			if place, known := all[word]; len(word) >= minWord && (!known || i+1 < place) {
				all[word] = i + 1
			}
		}
	}
	return all
})

// plain replaces digits and signs that people write instead of letters.
var plain = strings.NewReplacer("4", "a", "@", "a", "8", "b", "3", "e", "6", "g", "1", "i", "!", "i", "0", "o", "5", "s", "$", "s", "7", "t", "2", "z")

// rows are characters that people type one after another, in both directions.
var rows = []string{
	"abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm",
	"1qaz2wsx3edc4rfv5tgb6yhn7ujm",
}

// guessBits returns the bits of the cheapest way to put the text together from words,
// rows, repetitions and single characters: bits[k] is that of the first k bytes.
func guessBits(text string) float64 {
	lower := strings.ToLower(text)
	if len(lower) != len(text) {
		lower = text // of a few letters, the lower case has another length
	}
	guess := guesser{text: text, lower: lower, plain: plain.Replace(lower), single: math.Log2(characters(text))}
	bits := make([]float64, len(text)+1)
	for end := 1; end <= len(text); end++ {
		bits[end] = bits[end-1] + guess.single
		for begin := range end {
			bits[end] = min(bits[end], bits[begin]+guess.part(begin, end))
		}
	}
	return bits[len(text)]
}

// characters returns the number of characters from which a text was chosen.
func characters(text string) (n float64) {
	for _, class := range []struct {
		chars string
		n     float64
	}{
		{"abcdefghijklmnopqrstuvwxyz", 26}, {"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 26}, {"0123456789", 10},
		{" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", 33},
	} {
		if strings.ContainsAny(text, class.chars) {
			n += class.n
		}
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
		n += 100
	}
	return max(n, 1)
}

// guesser estimates parts of a text.
type guesser struct {
	text, lower string
	plain       string  // lower, with letters instead of digits and signs
	single      float64 // the bits of one character
}

// part returns the bits of a part of the text, if it is a word, a part of a row, or a
// repetition; otherwise infinity.
func (g guesser) part(begin, end int) float64 {
	bits := math.Inf(1)
	n := end - begin
	if n >= 2 && strings.Contains(g.text[:end-1], g.text[begin:end]) {
		bits = math.Log2(float64(end)) + math.Log2(float64(n))
	}
	if n < minWord {
		return bits
	}
	lower := g.lower[begin:end]
	capitals := 0.0
	for i := begin; i < end; i++ {
		if g.text[i] != g.lower[i] {
			capitals++
		}
	}
	changes := min(capitals, float64(n)-capitals, 8) + min(capitals, 1)
	for _, row := range rows {
		if strings.Contains(row, lower) || strings.Contains(row, reversed(lower)) {
			bits = min(bits, g.single+math.Log2(float64(n))+1+changes)
		}
	}
	for _, word := range []string{lower, g.plain[begin:end]} {
		if place, known := ranks()[word]; known {
			bits = min(bits, math.Log2(float64(place))+changes)
		}
		if place, known := ranks()[reversed(word)]; known {
			bits = min(bits, math.Log2(float64(place))+changes+1)
		}
		changes += 2
	}
	return bits
}

func reversed(s string) string {
	b := []byte(s)
	for i, c := range []byte(s) {
		b[len(b)-1-i] = c
	}
	return string(b)
}
