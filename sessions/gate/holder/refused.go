package holder

import "time"

// refusals limits the log lines about refused requests: the server, which may be in an
// attacker's hands, can send them as fast as it likes.
type refusals struct {
	last  string    // the reason of the last line
	at    time.Time // when it was logged, on the clock that is never set
	since uint64    // refused requests and changes since then
}

// logRefused logs that a request, or one of its changes, was refused, for a reason: at once
// if the reason is another one than before, and once in a logPause otherwise, but no more
// than one line a second.
func (s *session) logRefused(why string) {
	r, now := &s.refusals, s.Clock.Monotonic()
	r.since++
	pause := time.Second
	if why == r.last {
		pause = logPause
	}
	if !r.at.IsZero() && now.Sub(r.at) < pause {
		return
	}
	s.Log.Warn("request refused", "error", why, "requests", r.since)
	*r = refusals{last: why, at: now}
}

// failure returns the reply to a request that is allowed, and failed. The server logs it.
func (s *session) failure(err error) []byte {
	s.failed = true
	return refusal(err)
}

// noteReply logs a reply that refuses a request.
func (s *session) noteReply(reply []byte) {
	failed := s.failed
	if s.failed = false; failed || len(reply) == 0 {
		return
	}
	switch answer(reply[0]) {
	case answerRefused:
		s.logRefused(string(reply[1:]))
	case answerVersion:
		s.logRefused("the server is of another release")
	case answerOtherConfiguration:
		s.logRefused("the server has read another configuration")
	}
}
