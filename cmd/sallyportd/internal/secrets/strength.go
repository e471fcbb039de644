package secrets

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"github.com/ccojocar/zxcvbn-go"
)

// weakBits is where a secret begins to be called weak. One sniffed knock lets
// anybody try guesses offline, at some 10^10 a second on one machine: 80 bits
// last such a machine two million years, 50 bits a day.
const weakBits = 80

// strength estimates, in bits, how many guesses a secret takes from one who
// tries words, names, dates and patterns before all else.
func strength(secret string) float64 {
	// What only repeats itself is no longer than what it repeats.
	for period := 1; period <= len(secret)/2; period++ {
		if strings.HasPrefix(strings.Repeat(secret[:period], len(secret)/period+1), secret) {
			secret = secret[:period]
		}
	}
	// A key as we make them needs no looking up in dictionaries.
	if len(secret) >= 40 {
		if b, err := hex.DecodeString(secret); err == nil && variety(b) {
			return float64(4 * len(secret))
		}
	}
	// The estimate takes long for long texts: what begins well is good, and
	// of the rest 100 characters say enough.
	bits := 0.0
	for _, length := range []int{24, 100} {
		if bits = zxcvbn.PasswordStrength(secret[:min(length, len(secret))], nil).Entropy; bits >= weakBits {
			break
		}
	}
	return math.Max(0, bits)
}

// variety reports whether bytes look drawn at random: of so many, few are
// alike.
func variety(b []byte) bool {
	seen := map[byte]bool{}
	for _, c := range b {
		seen[c] = true
	}
	return 4*len(seen) > 3*min(len(b), 64)
}

// Weakness says how long a weak secret lasts; it is empty for a strong one.
func Weakness(secret string) string {
	bits := strength(secret)
	if bits >= weakBits {
		return ""
	}
	const guesses = 1e10 // a second
	seconds := math.Exp2(bits-1) / guesses
	return fmt.Sprintf("about %.0f bits: offline guessing finds it in %s", bits, span(seconds))
}

func span(seconds float64) string {
	switch {
	case seconds < 1:
		return "less than a second"
	case seconds < 3600:
		return "less than an hour"
	case seconds < 86400:
		return "less than a day"
	case seconds < 365*86400:
		return fmt.Sprintf("some %.0f days", seconds/86400)
	}
	return fmt.Sprintf("some %.0f years", seconds/(365*86400))
}
