//go:build !race

package main

// underRace is documented in race_test.go.
const underRace = false
