//go:build !linux && !darwin

package client

import (
	"net/netip"
	"time"
)

// On other systems, the client does not check whether the service is open before the
// knock.

const canBeginEarly = false

func beginEarly(netip.AddrPort) *earlyConn { return nil }

func connectAnswer(int) before { return beforeUnknown }

func awaitEvent(int, bool, time.Duration) {}

func peek(int) (data, closed bool) { return false, true }

func closeFD(int) {}
