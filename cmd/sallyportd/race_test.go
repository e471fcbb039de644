//go:build race

package main

// underRace reports that this program, which the tests also run as the server, has
// the race detector.
const underRace = true
