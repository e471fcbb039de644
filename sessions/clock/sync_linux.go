package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Synchronisation returns what the kernel knows about the time service of this host.
func Synchronisation() Sync {
	var t unix.Timex // reads only
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Sync{}
	}
	s := Sync{
		Known: true, Synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		MaxError: time.Duration(t.Maxerror) * time.Microsecond,
	}
	if s.Synchronised {
		s.By = disciplineOf(t.Status)
	}
	return s
}

// disciplineOf returns which way of the kernel a time service uses.
func disciplineOf(status int32) string {
	switch {
	case status&unix.STA_PPSTIME != 0:
		return "pulses of a reference clock (PPS)"
	case status&unix.STA_PLL != 0:
		return "the kernel's PLL, as by systemd-timesyncd or ntpd"
	}
	return "a service that sets the frequency, as chronyd"
}
