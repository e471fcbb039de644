package ingest

import (
	"context"
	"log/slog"
	"math/rand/v2"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
)

// setup configures a socket before it is bound: receive buffer and steering. Its
// filter comes from socketFilter.
type setup struct {
	buffer int // bytes; 0: the kernel's default
	steer  prefilter.Steer
	log    onceLog
}

func newSetup(buffer, readers int, log *slog.Logger) *setup {
	steer := prefilter.Steer{Seed: rand.Uint32() | 1, Sockets: readers}
	return &setup{buffer: buffer, steer: steer, log: newOnceLog(log)}
}

// prepare configures the socket of the n-th reader.
func (s *setup) prepare(fd, n int) error {
	if s.buffer > 0 {
		given, err := udp.SetBuffer(fd, s.buffer)
		if err != nil {
			return err
		}
		if given < s.buffer {
			s.log.once(slog.LevelInfo, "receive buffer smaller than requested", "requested", s.buffer, "actual", given,
				"hint", "raise net.core.rmem_max")
		}
	}
	// A group of sockets has one steering program. Its first socket attaches it.
	if n == 0 && s.steer.Sockets > 1 {
		if err := s.steer.Attach(fd); err != nil {
			s.log.once(slog.LevelWarn, "failed to steer by client; steering by source address", "error", err)
		}
	}
	return nil
}

// onceLog logs each message once, until it is reset.
type onceLog struct {
	*slog.Logger
	logged map[string]bool
}

func newOnceLog(log *slog.Logger) onceLog { return onceLog{log, map[string]bool{}} }

func (l onceLog) reset() { clear(l.logged) }

func (l onceLog) once(level slog.Level, message string, attrs ...any) {
	if !l.logged[message] {
		l.logged[message] = true
		l.Log(context.Background(), level, message, attrs...)
	}
}
