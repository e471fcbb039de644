package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"sallyport/sessions/clock"
	"sallyport/sessions/clock/clocktest"
)

func TestSystemClocksRun(t *testing.T) {
	c := clock.System()
	for name, now := range map[string]func() time.Time{"wall": c.Wall, "monotonic": c.Monotonic, "boot": c.Boot} {
		before := now()
		if off := time.Since(before.Round(0)); off < -time.Minute || off > time.Minute {
			t.Errorf("%s is %s away from the time of day", name, off)
		}
		for !now().After(before) {
			time.Sleep(time.Millisecond)
		}
	}
}

func TestStepAndSuspensionMoveTheirClocksOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := clocktest.NewHost()
		c := host.Clock()
		wall, monotonic, boot := c.Wall(), c.Monotonic(), c.Boot()
		time.Sleep(time.Second)
		host.Step(-time.Hour)
		host.Suspend(time.Minute)
		for _, row := range []struct {
			name      string
			got, want time.Duration
		}{
			{"wall", c.Wall().Sub(wall), time.Second - time.Hour + time.Minute},
			{"monotonic", c.Monotonic().Sub(monotonic), time.Second},
			{"boot", c.Boot().Sub(boot), time.Second + time.Minute},
		} {
			if row.got != row.want {
				t.Errorf("%s has moved by %s, want %s", row.name, row.got, row.want)
			}
		}
	})
}
