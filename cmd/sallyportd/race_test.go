//go:build race

package main

// underRace: this program, which tests also run as the server, has the race detector.
const underRace = true
