package clock

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDiscipline(t *testing.T) {
	for status, want := range map[int32]string{
		unix.STA_PPSTIME | unix.STA_PLL: "PPS", unix.STA_PLL: "timesyncd", 0: "chronyd", unix.STA_NANO: "chronyd",
	} {
		if got := disciplineOf(status); !strings.Contains(got, want) {
			t.Errorf("%#x: got %q, want %q in it", status, got, want)
		}
	}
	// Whatever this host has, the answer is consistent.
	if s := Synchronisation(); s.Synchronised != (s.By != "") || s.Synchronised && !s.Known || s.MaxError < 0 {
		t.Errorf("got %+v", s)
	}
}
