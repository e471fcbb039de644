package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/verify"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestTooFar: a client that the shield refuses is named, unless it has used a higher
// nonce since; in the log once an hour, with few others in one line.
func TestTooFar(t *testing.T) {
	ids := []string{"idle", "back", "new1", "mob1", "mob2", "mob3", "mob4", "mob5", "mob6"}
	table := verifytest.Table(t, verifytest.Clients(ids...)...)
	floor := func(id string) *verify.Floor { current, _ := table.Windows(verifytest.ID(id)); return current.Floor }
	refused := map[string]uint32{}
	now := time.Unix(1_800_000_000, 0)
	var text bytes.Buffer
	s := &Server{}
	s.env.Log = slog.New(slog.NewTextHandler(&text, nil))
	s.tooFar = &tooFar{
		refused: func(f func(wire.Identifier, uint32)) {
			for id, n := range refused {
				f(verifytest.ID(id), n)
			}
			clear(refused)
		},
		table: func() *verify.KeyTable { return table },
		now:   func() time.Time { return now },
		of:    map[wire.Identifier]*refusals{},
	}
	minute := func() string {
		text.Reset()
		now = now.Add(time.Minute)
		s.logTooFar()
		return text.String()
	}
	for _, id := range ids {
		if id != "new1" { // its highest nonce is not known, so nothing is too far ahead
			floor(id).Raise(0, 1000)
		}
	}
	refused["idle"], refused["back"], refused["new1"] = 15, 3, 7
	if got := minute(); got != "" {
		t.Errorf("at once: %s", got)
	}
	floor("back").Raise(0, 1003)
	const line = `msg="nonces too far ahead; knocks refused" client=idle hint="if such a client does not get in: ` +
		`sallyportd client resync IDENTIFIER"`
	if got := minute(); !strings.Contains(got, line) {
		t.Errorf("got %s", got)
	}
	refused["idle"] = 2
	if got := minute(); got != "" {
		t.Errorf("again: %s", got)
	}
	if list := s.tooFar.list(); len(list) != 1 || list[0].Client != "idle" || list[0].Refused != 17 {
		t.Errorf("list %+v", list)
	}
	for _, id := range ids[3:] {
		refused[id] = 1 << 30
	}
	minute()
	if got := minute(); !strings.Contains(got, `client="mob1,mob2,mob3,mob4,mob5 and 1 others"`) {
		t.Errorf("got %s", got)
	}
	now = now.Add(time.Hour)
	if got := minute(); !strings.Contains(got, `client="idle,mob1,mob2,mob3,mob4 and 2 others"`) {
		t.Errorf("after an hour: %s", got)
	}
	floor("idle").Forget()
	floor("mob1").Raise(0, 2000)
	if list := s.tooFar.list(); len(list) != 5 || list[0].Client != "mob2" {
		t.Errorf("list %+v", list)
	}
	now = now.Add(25 * time.Hour)
	if list := s.tooFar.list(); len(list) != 0 {
		t.Errorf("after a day: %+v", list)
	}
}
