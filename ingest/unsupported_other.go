//go:build !linux

package ingest

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// The server runs on Linux. Elsewhere the package builds, so that the rest of
// it can be worked on, and New fails.

var errPlatform = fmt.Errorf("receiving knocks needs Linux: %w", errors.ErrUnsupported)

type frame struct{}

func (*frame) init(*[batchSize][bufferSize]byte) {}
func (*frame) length(int) int                    { return 0 }
func (*frame) source(int) netip.Addr             { return netip.Addr{} }

type reader struct{}

func newReader(*shard) (*reader, error)         { return nil, errPlatform }
func (*reader) add(*socket) error               { return errPlatform }
func (*reader) remove(*socket, *sync.WaitGroup) {}
func (*reader) run() error                      { return errPlatform }
func (*reader) stop()                           {}
func (*reader) close()                          {}

func openSocket(netip.AddrPort, bool, sharing, func(int) error) (int, error) {
	return -1, errPlatform
}
func setBuffer(int, int) (int, error) { return 0, errPlatform }
func kernelDrops(int) (uint32, error) { return 0, errPlatform }
func closeSockets([]*socket)          {}
func anyAddress() []netip.Addr        { return nil }
