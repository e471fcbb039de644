package durations

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"7d": 7 * day, "2w": 14 * day, "1w2d12h": 9*day + 12*time.Hour, "1d1m": day + time.Minute, "1h30m": 90 * time.Minute,
		"-3s": -3 * time.Second, "0": 0, "100000d": 100000 * day,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "7", "d", "1d2w", "1d1d", "1.5d", "-1d", "1d-1h", "1d+1h", "999999w", "106751d23h48m", "1h1d", "1 d", "１d",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is accepted as %v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"1w2d12h", "7d", "1h30m", "106751d23h48m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if want, plain := time.ParseDuration(text); plain == nil && (err != nil || got != want) {
			t.Errorf("%q: got %v, %v; Go parses %v", text, got, err, want)
		}
		if err == nil && got < 0 && text[0] != '-' {
			t.Errorf("%q: %v", text, got)
		}
	})
}
