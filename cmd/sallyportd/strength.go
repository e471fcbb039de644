package main

import (
	"fmt"
	"math"

	"github.com/ccojocar/zxcvbn-go"
)

// weakBits is where a secret begins to be called weak. One sniffed knock lets
// anybody try guesses offline, at some 10^10 a second on one machine: 80 bits
// last such a machine two million years, 50 bits a day.
const weakBits = 80

// strength estimates, in bits, how many guesses a secret takes from one who
// tries words, names, dates and patterns before all else.
func strength(secret string) float64 {
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

// weakness says how long a weak secret lasts; it is empty for a strong one.
func weakness(secret string) string {
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
