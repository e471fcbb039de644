//go:build race

package race

// Enabled reports whether this program has the race detector.
const Enabled = true
