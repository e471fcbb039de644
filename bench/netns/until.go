package netns

import (
	"testing"
	"time"
)

// Until waits until ok reports true. It gives up only shortly before the
// test's own deadline, so a busy machine fails no test. The notes are called
// then; what they return explains the failure. ok is called on the test's
// goroutine.
func Until(t testing.TB, what string, ok func() bool, notes ...func() string) {
	t.Helper()
	end := Deadline(t)
	for !ok() {
		if !end.IsZero() && time.Now().After(end) {
			text := ""
			for _, note := range notes {
				text += "\n" + note()
			}
			t.Fatalf("never: %s%s", what, text)
		}
		time.Sleep(pollPause)
	}
}

// Deadline returns the time at which a test should stop waiting: shortly before
// its own deadline. It is zero if the test has none, which sockets and dialers
// take for no deadline.
func Deadline(t testing.TB) time.Time {
	if d, has := t.(interface{ Deadline() (time.Time, bool) }); has {
		if end, limited := d.Deadline(); limited {
			return end.Add(-spare)
		}
	}
	return time.Time{}
}

const (
	// pollPause is how often Until looks.
	pollPause = 10 * time.Millisecond
	// spare is the time that a test has to report its failure.
	spare = 10 * time.Second
)
