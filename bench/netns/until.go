package netns

import (
	"testing"
	"time"
)

// Until waits until ok returns true. It fails the test only shortly before the
// test's deadline, so that a busy machine fails no test. Then it calls the notes,
// whose results explain the failure. It calls ok on the test's goroutine.
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
// its deadline. It is zero if the test has none; sockets and dialers interpret
// that as no deadline.
func Deadline(t testing.TB) time.Time {
	if d, has := t.(interface{ Deadline() (time.Time, bool) }); has {
		if end, limited := d.Deadline(); limited {
			return end.Add(-spare)
		}
	}
	return time.Time{}
}

const (
	// pollPause is the time between two calls of ok.
	pollPause = 10 * time.Millisecond
	// spare is the time in which a test reports its failure.
	spare = 10 * time.Second
)
