//go:build !amd64 && !arm64

package client

import (
	"os"
	"testing"

	"sallyport/bench/netns"
)

func TestMain(m *testing.M) {
	netns.Together(4) // most tests wait for a network
	os.Exit(m.Run())
}
