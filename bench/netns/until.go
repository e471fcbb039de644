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
	var end time.Time
	if d, has := t.(interface{ Deadline() (time.Time, bool) }); has {
		if deadline, limited := d.Deadline(); limited {
			end = deadline.Add(-10 * time.Second)
		}
	}
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

// pollPause is how often Until looks.
const pollPause = 10 * time.Millisecond
