package syserror

import (
	"slices"
	"syscall"
	"testing"
)

// expected has the numbers of the documentation of Windows.
var expected = [codeCount][]syscall.Errno{
	Reset:        {10054},
	Broken:       {10053, 10058, 109, 232},
	Refused:      {10061},
	NoPort:       {10054},
	NoRoute:      {10065, 10051},
	TimedOut:     {10060},
	Forbidden:    {10013, 5},
	InUse:        {10048},
	NotAvailable: {10049},
	DiskFull:     {112, 39, 10069},
	ReadOnly:     {19},
}

// TestNumbers: the constants have the numbers of the documentation.
func TestNumbers(t *testing.T) {
	for c, want := range expected {
		if !slices.Equal(numbers[c], want) {
			t.Errorf("code %d: got %d, want %d", c, numbers[c], want)
		}
	}
}
