package secrets

import (
	"encoding/hex"
	"fmt"
	"math"
)

// weakBits is the strength below which a secret is weak. With one sniffed knock, an
// attacker can test guesses offline, about 10^10 a second on one machine. Such a
// machine needs two million years for 80 bits, and a day for 50 bits.
const weakBits = 80

// strength estimates, in bits, how many guesses an attacker needs who tries words,
// names, patterns and repetitions first.
func strength(secret string) float64 {
	// A random key in hex, as Random makes it, needs no search in dictionaries.
	if len(secret) >= 40 {
		if b, err := hex.DecodeString(secret); err == nil && variety(b) {
			return float64(4 * len(secret))
		}
	}
	return guessBits(secret[:min(len(secret), maxGuessed)])
}

// variety reports whether bytes look random: whether more than three quarters of
// them, or of 64 if there are more, have different values.
func variety(b []byte) bool {
	seen := map[byte]bool{}
	for _, c := range b {
		seen[c] = true
	}
	return 4*len(seen) > 3*min(len(b), 64)
}

// Weakness describes how long a weak secret withstands guessing; empty: the secret is
// strong.
func Weakness(secret string) string {
	bits := strength(secret)
	if bits >= weakBits {
		return ""
	}
	const guesses = 1e10 // a second
	seconds := math.Exp2(bits-1) / guesses
	return fmt.Sprintf("about %.0f bits: offline guessing finds it in %s", bits, duration(seconds))
}

func duration(seconds float64) string {
	switch {
	case seconds < 1:
		return "less than a second"
	case seconds < 3600:
		return "less than an hour"
	case seconds < 86400:
		return "less than a day"
	case seconds < 365*86400:
		return fmt.Sprintf("about %.0f days", seconds/86400)
	}
	return fmt.Sprintf("about %.0f years", seconds/(365*86400))
}
